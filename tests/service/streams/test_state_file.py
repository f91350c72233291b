"""A state file that fails, vanishes, is emptied, old or damaged: refused, never guessed at."""

import shutil
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.errors import IdempotencyConflict, StateUnavailable
from service.streams import database
from service.streams.marker import marker_of
from service.streams.store import StateStore
from tests.service.streams.store_calls import FakeClock, adding, key


class Opened:
    """A store, and what it tells of faults."""

    def __init__(self, path: Path, clock: FakeClock | None = None) -> None:
        self.told: list[str | None] = []
        monotonic = {} if clock is None else {"monotonic": clock}
        self.store = StateStore(
            path, on_fault=lambda fault: self.told.append(fault and fault.kind), **monotonic
        )
        self.store.open_now()

    def rows(self) -> list[Any]:
        """Everything that the state says."""
        streams = [repr(stream) for stream in self.store.get_all_now()]
        replies = [self.store.replay_now(key(name)) for name in ("a", "b", "c")]
        counted: list[Any] = []

        def look(transaction: Any) -> Any:
            stream = transaction.stream("run")
            counted.append(transaction.counted(stream, ["x", "y", "z"]))
            raise KeyError

        with pytest.raises(KeyError):
            self.store.apply_now(look)
        return [streams, replies, counted]


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A state of three requests, closed in peace."""
    path = tmp_path / "streams.sqlite3"
    opened = Opened(path)
    for name in "abc":
        opened.store.apply_now(adding(1.5, 2.5, ids=(chr(ord(name) + 23),)), key(name))
    opened.store.close_now()
    return path


def test_a_full_disk_is_told_and_over_when_there_is_room(tmp_path: Path) -> None:
    clock = FakeClock()
    opened = Opened(tmp_path / "streams.sqlite3", clock)
    store, connection = opened.store, opened.store._file.connection
    assert connection is not None
    (pages,) = connection.execute("PRAGMA page_count").fetchone()

    store.apply_now(adding(1.0), key("a"))
    connection.execute(f"PRAGMA max_page_count = {pages}")

    def fill() -> None:
        for number in range(100):
            store.apply_now(adding(1.0, reply=bytes(5000)), key(f"{number}"))

    with pytest.raises(StateUnavailable, match="full; free some space"):
        fill()
    counted = store.get_now("run").num_samples  # what needs no writing goes on
    connection.execute("PRAGMA max_page_count = 100000")
    store.apply_now(adding(1.0), key("z"))

    assert opened.told == ["disk_full", None]
    assert store.fault is None
    assert store.get_now("run").num_samples == counted + 1
    store.close_now()


async def test_room_is_noticed_without_a_request(tmp_path: Path) -> None:
    clock = FakeClock()
    opened = Opened(tmp_path / "streams.sqlite3", clock)
    opened.store._faults.begin(OSError(28, "No space left on device"))

    await opened.store.try_again()

    assert opened.told == ["disk_full", None]
    await opened.store.close()


def test_a_vanished_file_is_refused_until_its_marker_goes(path: Path) -> None:
    path.unlink()
    opened = Opened(path)

    assert opened.told == ["lost"]
    with pytest.raises(StateUnavailable, match="delete what is left of it"):
        opened.store.apply_now(adding(1.0))
    opened.store.close_now()
    assert not path.exists()

    marker_of(path).unlink()
    fresh = Opened(path)
    assert (fresh.told, fresh.store.get_all_now()) == ([], [])
    fresh.store.close_now()


def test_without_its_marker_a_vanished_file_is_taken_for_a_new_one(path: Path) -> None:
    """The negative control of the marker."""
    path.unlink()
    marker_of(path).unlink()
    opened = Opened(path)

    assert (opened.told, opened.store.get_all_now()) == ([], [])
    opened.store.close_now()


@pytest.mark.parametrize("content", [b"", b"\0" * 4096])
def test_an_emptied_file_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    opened = Opened(path)

    assert opened.told in (["lost"], ["damaged"])
    with pytest.raises(StateUnavailable):
        opened.store.get_all_now()
    assert path.read_bytes() == content


def test_a_log_without_its_file_is_evidence_too(path: Path) -> None:
    path.unlink()
    marker_of(path).unlink()
    path.with_name(f"{path.name}-wal").write_bytes(b"what a kill left")

    assert Opened(path).told == ["lost"]


def test_a_copy_from_before_is_refused(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / "copy")
    opened = Opened(path)
    opened.store.apply_now(adding(1.0))
    opened.store.close_now()
    shutil.copy(tmp_path / "copy", path)

    again = Opened(path)

    assert again.told == ["lost"]
    assert again.store.fault is not None
    assert again.store.fault.cause == "1 of the state's 4 commits are gone"


def test_another_state_is_refused(path: Path, tmp_path: Path) -> None:
    other = Opened(tmp_path / "other.sqlite3")
    other.store.close_now()
    shutil.copy(tmp_path / "other.sqlite3", path)

    assert Opened(path).told == ["lost"]


def test_a_file_that_is_taken_away_while_it_is_open_is_noticed(path: Path) -> None:
    opened = Opened(path)
    path.rename(path.with_name("elsewhere"))

    with pytest.raises(StateUnavailable, match="taken away"):
        opened.store.apply_now(adding(1.0))
    path.write_bytes(b"")
    with pytest.raises(StateUnavailable):  # it lasts: a start decides
        opened.store.apply_now(adding(1.0))
    opened.store.close_now()


def test_a_file_that_cant_be_opened_now_is_opened_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()

    def failing(_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(database, "make_state_directory", failing)
        opened = Opened(path, clock)
        with pytest.raises(StateUnavailable, match="free some space"):
            opened.store.get_all_now()
    clock.now += 1.0

    assert len(opened.store.get_all_now()) == 1
    assert opened.told == ["disk_full", None]
    opened.store.close_now()


LEAVE_A_LOG = """
import os, sys
from pathlib import Path
from service.streams.store import StateStore
from tests.service.streams.store_calls import adding, key
store = StateStore(Path(sys.argv[1]))
store.open_now()
for name in "abc":
    store.apply_now(adding(1.5, 2.5), key(name))
os._exit(9)
"""


def test_a_flipped_byte_of_the_log_loses_no_commit_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "streams.sqlite3"
    subprocess.run([sys.executable, "-c", LEAVE_A_LOG, str(path)], check=False, timeout=60)
    log = path.with_name(f"{path.name}-wal")
    broken = bytearray(log.read_bytes())
    broken[-2000] ^= 1
    log.write_bytes(broken)

    opened = Opened(path)

    assert opened.told == ["lost"]
    assert opened.store.fault is not None
    assert "commits are gone" in opened.store.fault.cause


def flipped(path: Path, places: Iterator[int]) -> Iterator[tuple[int, Opened | None]]:
    """The state opened with a bit of its file flipped, at each place; None: it isn't even ours."""
    whole, marker = path.read_bytes(), marker_of(path).read_bytes()
    for place in places:
        broken = bytearray(whole)
        broken[place] ^= 1 << (place % 8)
        path.write_bytes(broken)
        marker_of(path).write_bytes(marker)
        try:
            yield place, Opened(path)
        except database.ConfigurationError:
            yield place, None
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.write_bytes(whole)


def places(path: Path, count: int) -> Iterator[int]:
    """Bytes that say something, all over the file, the same in each run."""
    whole = path.read_bytes()
    used = [place for place, byte in enumerate(whole) if byte]
    return iter(sorted({used[zlib.crc32(b"%d" % one) % len(used)] for one in range(count)}))


def wrong_states(path: Path, count: int) -> tuple[int, int]:
    """How many flips were served as if they were true, and how many were refused."""
    opened = Opened(path)
    expected = opened.rows()
    opened.store.close_now()
    wrong = refused = 0
    for _, state in flipped(path, places(path, count)):
        if state is None:
            refused += 1
            continue
        try:
            wrong += state.rows() != expected
        except StateUnavailable:
            refused += 1
        except IdempotencyConflict:  # of another body, it says
            wrong += 1
        state.store.close_now()
    return wrong, refused


def test_no_flipped_byte_of_the_file_is_served(path: Path) -> None:
    wrong, refused = wrong_states(path, 300)

    assert wrong == 0
    assert refused > 100


def test_without_the_rows_checks_flipped_bytes_are_served(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: SQLite's own check alone believes what the disk says."""

    def believing(*_: object) -> None:
        pass

    for module in ("stream_table", "ledger_table", "identity_table"):
        monkeypatch.setattr(f"service.streams.{module}.require_intact", believing)
    monkeypatch.setattr(database, "_require_rows", believing)

    assert wrong_states(path, 150)[0] > 0


@pytest.mark.parametrize("table", ["stream", "counted_item", "ledger"])
def test_a_row_that_changed_is_found_when_the_file_is_opened(path: Path, table: str) -> None:
    column = {"stream": "m2", "counted_item": "text", "ledger": "response"}[table]
    other = sqlite3.connect(path)
    other.execute(f"UPDATE {table} SET {column} = 7")
    other.commit()
    other.close()

    opened = Opened(path)

    assert opened.told == ["damaged"]
    assert opened.store.fault is not None
    assert table in opened.store.fault.cause


def test_a_row_that_changes_while_the_file_is_open_is_refused(path: Path) -> None:
    opened = Opened(path)
    other = sqlite3.connect(path)
    other.execute("UPDATE stream SET mean = mean + 1")
    other.commit()
    other.close()

    with pytest.raises(StateUnavailable, match="damaged"):
        opened.store.get_now("run")
    with pytest.raises(StateUnavailable, match="damaged"):
        opened.store.apply_now(adding(1.0, name="another"))
    assert opened.told == ["damaged"]
    opened.store.close_now()
