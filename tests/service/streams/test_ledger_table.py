import sqlite3
from collections.abc import Iterator

import pytest

from service.streams import ledger_table as ledger
from service.streams.ledger_table import IdempotencyKey, LedgerLimits, StoredReply


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.executescript(ledger.SCHEMA)
    yield connection
    connection.close()


def insert(
    connection: sqlite3.Connection, name: str, *, stream_id: int | None = None, now: float = 0.0
) -> None:
    reply = StoredReply(200, name.encode() * 10)
    ledger.insert(connection, IdempotencyKey(name, b"d" * 32), reply, stream_id=stream_id, now=now)


def test_a_reply_comes_back_byte_for_byte(connection: sqlite3.Connection) -> None:
    reply = StoredReply(207, bytes(range(256)))
    ledger.insert(connection, IdempotencyKey("k", b"d" * 32), reply, stream_id=None, now=1.0)

    found = ledger.find(connection, "k")

    assert found is not None
    assert (found.digest, found.reply) == (b"d" * 32, reply)
    assert ledger.find(connection, "other") is None


def test_a_key_stands_once(connection: sqlite3.Connection) -> None:
    insert(connection, "k")

    with pytest.raises(sqlite3.IntegrityError):
        insert(connection, "k")


def test_an_empty_ledger_has_nothing_to_evict(connection: sqlite3.Connection) -> None:
    assert ledger.evict(connection, LedgerLimits(max_rows=1), now=1e9) == 0
    assert ledger.entries(connection) == 0


def test_the_newest_reply_stays_whatever_the_bounds(connection: sqlite3.Connection) -> None:
    for name in "abc":
        insert(connection, name)

    gone = ledger.evict(
        connection, LedgerLimits(max_rows=1, max_age_seconds=0.0, max_bytes=0), now=1e9
    )

    assert gone == 2
    assert ledger.find(connection, "c") is not None
    assert ledger.entries(connection) == 1


def test_bytes_are_bounded_after_many_evictions(connection: sqlite3.Connection) -> None:
    limits = LedgerLimits(max_bytes=100)
    for number in range(50):
        insert(connection, f"{number:02d}")  # 20 bytes each
        ledger.evict(connection, limits, now=0.0)

        (held,) = connection.execute("SELECT sum(length(response)) FROM ledger").fetchone()
        assert held <= 100

    assert ledger.entries(connection) == 5


def test_a_gap_never_lets_the_ledger_hold_more(connection: sqlite3.Connection) -> None:
    for number in range(10):
        insert(connection, f"{number}", stream_id=number % 2)
    ledger.forget_stream(connection, 1)
    ledger.evict(connection, LedgerLimits(max_rows=4), now=0.0)

    (held,) = connection.execute("SELECT count(*) FROM ledger").fetchone()
    assert held <= 4
    assert ledger.find(connection, "8") is not None
    assert ledger.find(connection, "9") is None
