"""A wall clock that jumps forgets no key and keeps none for ever."""

from pathlib import Path

import httpx
import pytest

from tests.chaos.conftest import Chaos, Launch
from tests.chaos.state_calls import counted, reward
from tests.chaos.state_server import MODULE

HOURS = 3600.0


@pytest.fixture
def offset(tmp_path: Path) -> Path:
    """By how many seconds the servers' clock is wrong."""
    file = tmp_path / "offset"
    file.write_text("0", "ascii")
    return file


def is_replayed(reply: httpx.Response) -> bool:
    assert reply.status_code == 200, reply.text
    return reply.headers.get("Idempotency-Replayed") == "true"


def test_no_jump_of_the_clock_makes_a_key_count_again(
    launch: Launch, offset: Path, chaos: Chaos
) -> None:
    chance = chaos.random("jumps")
    jumps = [30.0, -60.0, *(chance.uniform(-1000, 1000) for _ in range(chaos.times(1, 100)))]
    server = launch(MODULE, STATE_CLOCK_FILE=str(offset))
    reward(server, 0)
    for number, hours in enumerate(jumps, start=1):
        offset.write_text(str(hours * HOURS), "ascii")
        assert not is_replayed(reward(server, number))  # which would evict what is too old
        assert all(is_replayed(reward(server, one)) for one in range(number + 1))
    assert counted(server) == len(jumps) + 1


def test_nor_does_a_jump_while_the_server_is_away(
    launch: Launch, offset: Path, chaos: Chaos
) -> None:
    if not chaos.full:
        pytest.skip("takes a second for each start of a server; make chaos")
    server = launch(MODULE, STATE_CLOCK_FILE=str(offset))
    reward(server, 0)
    for number, hours in enumerate((30.0, -60.0) * 10, start=1):
        server.process.terminate()
        server.process.wait(60)
        offset.write_text(str(hours * HOURS), "ascii")
        server = launch(MODULE, STATE_CLOCK_FILE=str(offset))

        assert not is_replayed(reward(server, number))
        assert all(is_replayed(reward(server, one)) for one in range(number + 1))
        assert counted(server) == number + 1


def test_by_the_wall_clock_alone_a_jump_forgets(launch: Launch, offset: Path) -> None:
    """The negative control."""
    server = launch(MODULE, STATE_CLOCK_FILE=str(offset), PROTECTION="off")
    reward(server, 0)
    offset.write_text(str(30 * HOURS), "ascii")

    reward(server, 1)

    assert not is_replayed(reward(server, 0))
