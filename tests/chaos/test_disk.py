"""A disk that is full or read-only, a state file that is gone, emptied or changed.

What needs no statistics goes on, what does is refused with the reason, and nothing is guessed.
"""

import signal
import subprocess
from pathlib import Path

import pytest

from tests.chaos.attacked import AttackedServer
from tests.chaos.conftest import Chaos, Launch
from tests.chaos.state_calls import ask, counted, require_refused, require_stateless, reward
from tests.chaos.state_server import MODULE

STATE = "streams.sqlite3"


@pytest.fixture
def disk(launch: Launch, tmp_path: Path) -> "SmallDisk":
    require_own_mounts()
    return SmallDisk(launch)


@pytest.fixture
def in_full(chaos: Chaos) -> None:
    """What servers of this process have shown in tests/service/routes/test_state_health.py."""
    if not chaos.full:
        pytest.skip("takes a second for each start of a server; make chaos")


def require_own_mounts() -> None:
    if subprocess.run(["unshare", "-Urm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody have a file system of his own")


class SmallDisk:
    """A server whose state lies on a disk of one megabyte."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch

    def start(self, **environment: str) -> AttackedServer:
        self.server = self._launch(MODULE, STATE_DISK_BYTES=str(1 << 20), **environment)
        (mount,) = (
            line.split()[1]
            for line in Path(f"/proc/{self.server.pid}/mounts").read_text("utf-8").splitlines()
            if line.split()[1].endswith("/state")
        )
        self.directory = Path(f"/proc/{self.server.pid}/root{mount}")
        return self.server

    def fill(self) -> Path:
        """Take all the room there is."""
        filling = self.directory / "filling"
        with filling.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return filling


def until_refused(server: AttackedServer, first: int) -> int:
    """Count samples until they are refused; how many requests were answered."""
    for number in range(1000):
        if reward(server, first + number, size=50).status_code != 200:
            return number
    raise AssertionError("the disk never was full")


def test_a_full_disk_is_told_and_over_when_there_is_room(disk: SmallDisk, chaos: Chaos) -> None:
    server = disk.start()
    expected = 0
    for first in range(0, chaos.times(1, 10) * 10_000, 10_000):
        filling = disk.fill()
        answered = until_refused(server, first)
        require_refused(server, "disk_full")
        require_stateless(server)
        if expected + answered:
            assert counted(server) == expected + 50 * answered
        filling.unlink()

        retried = [reward(server, first + number, size=50) for number in range(answered + 1)]

        assert {reply.status_code for reply in retried} == {200}
        assert ask(server, "/health/state").status_code == 200
        assert 'rm_state_fault{kind="disk_full"} 0.0' in ask(server, "/metrics").text
        expected += 50 * (answered + 1)
        assert counted(server) == expected


def test_without_the_watch_on_faults_nobody_is_told(disk: SmallDisk) -> None:
    """The negative control: requests fail and every other word is of health."""
    server = disk.start(PROTECTION="off")
    disk.fill()
    until_refused(server, 0)

    with pytest.raises(AssertionError):
        require_refused(server, "disk_full")
    assert ask(server, "/health/state").status_code == 200


def stopped(launch: Launch, directory: Path, ending: signal.Signals) -> Path:
    """The state file of a server that counted three samples and is gone."""
    server = launch(MODULE)
    for number in range(3):
        assert reward(server, number).status_code == 200
    server.process.send_signal(ending)
    server.process.wait(60)
    return directory / "state" / STATE


def start_fresh(launch: Launch, state: Path) -> None:
    """Say that a new state is meant, as the words of the refusal have it, and see that it is."""
    for left in state.parent.glob(f"{STATE}*"):
        left.unlink()
    server = launch(MODULE)
    assert ask(server, "/health/state").status_code == 200
    assert reward(server, 7).status_code == 200
    assert counted(server) == 1


def test_a_vanished_file_is_refused_until_a_fresh_start_is_meant(
    launch: Launch, tmp_path: Path, in_full: None
) -> None:
    state = stopped(launch, tmp_path, signal.SIGKILL)
    state.unlink()

    server = launch(MODULE)

    require_refused(server, "lost")
    require_stateless(server)
    assert not state.exists()
    start_fresh(launch, state)


def test_a_read_only_disk_is_told_and_what_it_holds_goes_on_where_it_is_writable(
    launch: Launch, tmp_path: Path, in_full: None
) -> None:
    require_own_mounts()
    stopped(launch, tmp_path, signal.SIGKILL)

    server = launch(MODULE, STATE_READ_ONLY="1")
    require_refused(server, "read_only")
    require_stateless(server)
    server.process.kill()

    server = launch(MODULE)
    assert counted(server) == 3
    assert reward(server, 2).headers["Idempotency-Replayed"] == "true"


def test_an_emptied_file_is_refused(launch: Launch, tmp_path: Path, in_full: None) -> None:
    state = stopped(launch, tmp_path, signal.SIGTERM)
    state.write_bytes(b"")

    server = launch(MODULE)

    require_refused(server, "lost")
    require_stateless(server)
    assert state.read_bytes() == b""


def test_a_log_that_vanished_takes_no_sample_along_unnoticed(
    launch: Launch, tmp_path: Path, in_full: None
) -> None:
    state = stopped(launch, tmp_path, signal.SIGKILL)
    state.with_name(f"{STATE}-wal").unlink()

    server = launch(MODULE)

    assert ask(server, "/health/state").status_code == 503
    require_stateless(server)


def test_a_flipped_bit_of_a_row_is_refused_and_the_copy_goes_on(
    launch: Launch, tmp_path: Path, in_full: None
) -> None:
    state = stopped(launch, tmp_path, signal.SIGTERM)
    whole = state.read_bytes()
    place = whole.rindex(b"default") + len(b"default") + 4  # in the stream's mean or its count
    broken = bytearray(whole)
    broken[place] ^= 1
    state.write_bytes(broken)

    server = launch(MODULE)
    require_refused(server, "damaged")
    require_stateless(server)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0
    state.write_bytes(whole)

    server = launch(MODULE)
    assert counted(server) == 3
    assert reward(server, 2).headers["Idempotency-Replayed"] == "true"
