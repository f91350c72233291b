"""One real server for all of the client's tests, and clients that don't wait long."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models import make_tokenizer, save_checkpoint
from tests.rm_client.calling import Ask, asynchronously, synchronously
from tests.rm_client.servers import real_server


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


@pytest.fixture(params=[synchronously, asynchronously], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Call a method of either client: `ask(url, "score", [item], timeout_seconds=1)`."""
    chosen: Ask = request.param
    return chosen
