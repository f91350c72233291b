"""One real server for all of the client's tests, and clients that don't wait long."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rm_client import RetryPolicy
from tests.models import make_tokenizer, save_checkpoint
from tests.rm_client.servers import real_server

QUICK = RetryPolicy(
    max_attempts=4, initial_delay_seconds=0.01, max_delay_seconds=0.05, max_elapsed_seconds=20.0
)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two small random reward models."""
    root = tmp_path_factory.mktemp("checkpoints")
    return {
        role: save_checkpoint(root / role, seed=seed, tokenizer=make_tokenizer(chat=True))
        for seed, role in enumerate(("safety", "helpfulness"))
    }


@pytest.fixture(scope="session")
def server_url(
    checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A real server with both models, as a process of its own."""
    flags = ["--safety-model", str(checkpoints["safety"])]
    flags += ["--helpfulness-model", str(checkpoints["helpfulness"])]
    with real_server(tmp_path_factory.mktemp("server"), *flags) as url:
        yield url


@pytest.fixture
def quick() -> RetryPolicy:
    """Retries without long waits."""
    return QUICK
