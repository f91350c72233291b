"""Other projects' own clients, as pip installs them, against a real server of a small random model.

`make test-integrations` makes their environments; each file is collected where its client is there.
The server, and POST /score, which tells what is right, run in the project's own environment.
"""

import importlib.util
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.server_process import ServerProcess, server_process

_NEEDS = {
    "test_addresses.py": "aiohttp",
    "test_infinity.py": "infinity_client",
    "test_kserve.py": "kserve",
    "test_openai.py": "openai",
    "test_pytriton.py": "pytriton",
    "test_tritonclient.py": "tritonclient",
}
collect_ignore = [name for name, needed in _NEEDS.items() if not importlib.util.find_spec(needed)]

ROOT = Path(__file__).parents[3]
KEY = "client-key"
CHECKPOINT = """
import json, sys
from pathlib import Path
from tests.models import make_tokenizer, save_checkpoint
directory, *texts = sys.argv[1:]
tokenizer = make_tokenizer(chat=True, add_bos=True)
save_checkpoint(Path(directory), tokenizer=tokenizer)
print(json.dumps(tokenizer(texts, add_special_tokens=False).input_ids))
"""
PROMPT, RESPONSE = "Is 27 prime?", "No: 27 = 3 × 9."
RENDERED = f"<s><user>{PROMPT}</s><assistant>{RESPONSE}</s>"
TEXTS = [RENDERED, f"<s><user>{PROMPT}</s><assistant>Ja, natürlich 🙂.</s>"]
RESPONSES = [RESPONSE, "Ja, natürlich 🙂."]


def _python() -> str:
    own = ROOT / ".venv" / "bin" / "python"
    return str(own) if own.exists() else sys.executable


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[int]]]:
    """A random model's directory, and the ids that its tokenizer gives TEXTS."""
    directory = tmp_path_factory.mktemp("checkpoint")
    command = [_python(), "-c", CHECKPOINT, str(directory), *TEXTS]
    made = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return directory, json.loads(made.stdout)


@pytest.fixture(scope="session")
def token_ids(checkpoint: tuple[Path, list[list[int]]]) -> list[list[int]]:
    """The ids of TEXTS."""
    return checkpoint[1]


def _server(
    checkpoint: tuple[Path, list[list[int]]], directory: Path, **more: str
) -> AbstractContextManager[ServerProcess]:
    """A server that takes sixteen texts at a time."""
    environment = {
        "REWARDD_HELPFULNESS_MODEL": str(checkpoint[0]),
        "REWARDD_MAX_QUEUE_ITEMS": "16",
        "REWARDD_MAX_ITEMS": "16",
        "REWARDD_TORCH_THREADS": "1",
        "PATH": "/usr/bin:/bin",
    }
    return server_process(
        directory, "rewardd", "serve", environment=environment | more, python=_python()
    )


@pytest.fixture(scope="session")
def server_url(
    checkpoint: tuple[Path, list[list[int]]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A server that wants KEY."""
    directory = tmp_path_factory.mktemp("server")
    with _server(checkpoint, directory, REWARDD_API_KEYS=json.dumps([KEY])) as running:
        yield running.url


@pytest.fixture(scope="session")
def open_server_url(
    checkpoint: tuple[Path, list[list[int]]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """One that wants no key, for clients that can't send one with every question."""
    with _server(checkpoint, tmp_path_factory.mktemp("open-server")) as running:
        yield running.url


@pytest.fixture(scope="session")
def reward_of(server_url: str) -> Callable[[str], float]:
    """What POST /score says of a response to the prompt."""

    def ask(response: str) -> float:
        body = json.dumps({"prompt": PROMPT, "response": response}).encode()
        headers = {"Content-Type": "application/json", "X-API-Key": KEY}
        request = urllib.request.Request(f"{server_url}/score", body, headers)
        with urllib.request.urlopen(request, timeout=60) as reply:
            said: dict[str, Any] = json.load(reply)
        return float(said["selected_reward"])

    return ask


@pytest.fixture(scope="session")
def rewards(reward_of: Callable[[str], float]) -> list[float]:
    """Of RESPONSES, and so of TEXTS."""
    found = [reward_of(response) for response in RESPONSES]
    assert abs(found[0] - found[1]) > 1e-3
    return found
