import hashlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from rm_core.errors import ConfigurationError
from rm_core.rewards import Statistics, statistics_of
from service.streams import stream_table as streams
from service.streams.database import APPLICATION_ID, SCHEMA_VERSION, open_database
from service.streams.ledger_table import IdempotencyKey, StoredReply
from service.streams.store import StateStore
from service.streams.transaction import Transaction
from tests.service.streams.store_calls import FakeClock


def test_a_new_file_carries_its_version_and_name(tmp_path: Path) -> None:
    connection, recovery = open_database(tmp_path / "deep" / "er" / "state.sqlite3")

    assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert recovery == "clean"
    connection.close()


def test_opening_it_again_changes_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        connection, recovery = open_database(tmp_path / "state.sqlite3")
        connection.close()

    assert recovery == "clean"


FIRST_VERSION = """
CREATE TABLE stream (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, count REAL NOT NULL,
  mean REAL NOT NULL, m2 REAL NOT NULL, num_samples INTEGER NOT NULL, version INTEGER NOT NULL,
  generation INTEGER NOT NULL, half_life REAL, frozen INTEGER NOT NULL, created REAL NOT NULL,
  updated REAL NOT NULL, num_ids INTEGER NOT NULL
);
CREATE TABLE counted_item (
  stream_id INTEGER NOT NULL, item BLOB NOT NULL, position INTEGER NOT NULL,
  PRIMARY KEY (stream_id, item)
) WITHOUT ROWID;
CREATE INDEX counted_item_position ON counted_item (stream_id, position);
CREATE TABLE ledger (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, digest BLOB NOT NULL,
  status INTEGER NOT NULL, response BLOB NOT NULL, stream_id INTEGER, created REAL NOT NULL,
  end_offset INTEGER NOT NULL
);
CREATE INDEX ledger_created ON ledger (created);
CREATE INDEX ledger_stream ON ledger (stream_id, seq);
INSERT INTO stream VALUES (7, 'run', 4.0, 2.0, 12.0, 9, 5, 1, 100.0, 0, 1.5, 2.5, 1);
INSERT INTO counted_item VALUES (7, x'00', 1);
"""


def test_a_file_of_the_first_version_goes_on_with_all_that_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    old = sqlite3.connect(path)
    old.executescript(
        f"{FIRST_VERSION}PRAGMA application_id = {APPLICATION_ID};PRAGMA user_version = 1;"
    )
    old.close()

    for _ in range(2):  # the second time there is nothing left to bring forward
        connection, _ = open_database(path)
        found = streams.find(connection, "run")

        assert found is not None
        assert found == streams.Stream(
            "run",
            Statistics(4.0, 2.0, 12.0),
            num_samples=9,
            version=5,
            generation=1,
            half_life=100.0,
            created=1.5,
            updated=2.5,
            id=7,
            num_ids=1,
        )
        assert connection.execute("SELECT count(*) FROM counted_item").fetchone() == (1,)
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        connection.close()
    later = found.merged(statistics_of([2.0], half_life=100.0), num_samples=1, now=3.0)
    assert later.statistics.std == pytest.approx(2.0, rel=0.2)


SECOND_VERSION = f"""
{FIRST_VERSION}
ALTER TABLE stream ADD COLUMN degrees_of_freedom REAL;
CREATE TABLE unanswered (
  receipt INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL, settlement BLOB NOT NULL,
  stream_id INTEGER, created REAL NOT NULL
);
CREATE INDEX unanswered_digest ON unanswered (digest);
CREATE INDEX unanswered_created ON unanswered (created);
DELETE FROM counted_item;
INSERT INTO counted_item VALUES (7, x'{{digest}}', 1);
INSERT INTO ledger VALUES (3, 'a', zeroblob(32), 200, x'6869', 7, 90.5, 2);
INSERT INTO unanswered VALUES (5, x'07', x'6869', 7, 91.5);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = 2;
"""


def test_a_file_of_the_second_version_goes_on_with_all_that_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    old = sqlite3.connect(path)
    digest = hashlib.blake2b(b"x", digest_size=16).hexdigest()
    old.executescript(SECOND_VERSION.format(digest=digest))
    old.close()
    clock = FakeClock()

    for _ in range(2):
        store = StateStore(path, clock=clock, monotonic=clock)
        store.open_now()
        assert store.fault is None
        assert store.get_now("run").statistics == Statistics(4.0, 2.0, 12.0)
        reply = store.replay_now(IdempotencyKey("a", bytes(32)))
        assert reply == StoredReply(200, b"hi")  # its time is the file's, whatever the wall says
        assert counted_by(store) == {"x": None}
        lost = store.claim_now(b"\x07")
        assert lost is not None  # five minutes at most have passed for the state
        assert (lost.settlement, lost.receipt) == (b"hi", 5)
        store.close_now()


def counted_by(store: StateStore) -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = {}

    def look(transaction: Transaction) -> StoredReply:
        stream = transaction.stream("run")
        assert stream is not None
        found.update(transaction.counted(stream, ["x", "y"]))
        return StoredReply(200, b"")

    store.apply_now(look)
    return found


def test_somebody_elses_version_is_not_taken_for_ours(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    foreign = sqlite3.connect(path)
    foreign.executescript(f"{FIRST_VERSION}PRAGMA user_version = 1;")
    foreign.close()

    with pytest.raises(ConfigurationError):
        open_database(path)


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    connection, _ = open_database(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()

    with pytest.raises(ConfigurationError, match="use the rewardd that wrote it"):
        open_database(path)


def test_somebody_elses_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE precious (x)")
    foreign.close()

    with pytest.raises(ConfigurationError):
        open_database(path)


def test_a_folder_that_cant_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigurationError, match="writable"):
        open_database(tmp_path / "file" / "state.sqlite3")


def test_what_a_killed_process_left_in_its_log_is_replayed_and_told(tmp_path: Path) -> None:
    path, copied = tmp_path / "state.sqlite3", tmp_path / "copied.sqlite3"
    connection, _ = open_database(path)
    connection.execute("CREATE TABLE written (x)")
    for suffix in ("", "-wal"):  # as a kill would leave them: nothing was folded or closed
        shutil.copy(f"{path}{suffix}", f"{copied}{suffix}")
    connection.close()

    connection, recovery = open_database(copied)

    assert recovery == "wal_replayed"
    assert connection.execute("SELECT count(*) FROM written").fetchone() == (0,)
    connection.close()


def test_commits_wait_for_the_disk(tmp_path: Path) -> None:
    connection, _ = open_database(tmp_path / "state.sqlite3")

    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
