"""How hard the attacks are: seconds in `make test`, as long as they were meant in `make chaos`."""

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from tests.chaos.attacked import AttackedServer, attacked_server

T = TypeVar("T")
Launch = Callable[..., AttackedServer]


@dataclass(frozen=True)
class Chaos:
    """One test's share of chaos.

    Attributes:
        full: whether the attack takes its full time.
        seed: of everything random in it; `pytest --chaos-seed` repeats a run.
    """

    full: bool
    seed: int

    def times(self, short: T, full: T) -> T:
        """How often, how much or how long, in this run."""
        return full if self.full else short

    def random(self, *salt: object) -> random.Random:
        """Chance that a run with the same seed repeats, another stream for each salt."""
        return random.Random(repr((self.seed, *salt)))


@pytest.fixture
def chaos(request: pytest.FixtureRequest) -> Chaos:
    """The attack's size and its seed, which a failure shows among what was printed."""
    seed = request.config.getoption("--chaos-seed")
    sys.stdout.write(f"repeat with: pytest {request.node.nodeid} --chaos-seed {seed}\n")
    return Chaos(request.config.getoption("--chaos") == "full", seed)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Start `python -m tests.integration.fake_server`, or another module, with these variables.

    Each start after the first is a server of its own beside the others, with the same state.
    """
    with ExitStack() as stack:

        def start(
            module: str = "tests.integration.fake_server", **environment: str
        ) -> AttackedServer:
            server: AbstractContextManager[AttackedServer] = attacked_server(
                tmp_path, module, environment
            )
            return stack.enter_context(server)

        yield start
