"""Rows of requests whose reply did not leave: claimed once, for a while, and not too many."""

import sqlite3
from collections.abc import Iterator

import pytest

from service.streams import unanswered_table
from service.streams.unanswered_table import UnansweredLimits, UnansweredRequests

LIMITS = UnansweredLimits(max_age_seconds=900.0, max_rows=100, max_bytes=10_000)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(unanswered_table.SCHEMA)
    yield connection
    connection.close()


def lost(
    connection: sqlite3.Connection, digest: bytes, *, now: float = 0.0, size: int = 10
) -> UnansweredRequests:
    """A process that has counted a request and is gone."""
    requests = UnansweredRequests(LIMITS)
    requests.insert(connection, digest, digest * size, stream_id=1, now=now)
    return requests


def held(connection: sqlite3.Connection) -> tuple[int, int]:
    return connection.execute(
        "SELECT count(*), coalesce(sum(length(settlement)), 0) FROM unanswered"
    ).fetchone()


def test_the_oldest_equal_request_is_claimed_once(connection: sqlite3.Connection) -> None:
    for _ in range(2):
        lost(connection, b"a")
    requests = UnansweredRequests(LIMITS)

    claimed = [requests.claim(connection, b"a", now=1.0) for _ in range(3)]

    assert [one and one.receipt for one in claimed] == [1, 2, None]
    assert requests.claim(connection, b"b", now=1.0) is None


def test_one_that_is_being_answered_is_nobodys(connection: sqlite3.Connection) -> None:
    requests = UnansweredRequests(LIMITS)
    receipt = requests.insert(connection, b"a", b"settled", stream_id=None, now=0.0).receipt
    requests.being_answered(receipt)

    assert requests.claim(connection, b"a", now=0.0) is None
    requests.settle(connection, receipt, answered=False)
    found = requests.claim(connection, b"a", now=0.0)

    assert found is not None
    assert (found.settlement, found.receipt) == (b"settled", receipt)
    requests.settle(connection, receipt, answered=True)
    assert held(connection) == (0, 0)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_after_a_quarter_of_an_hour_an_equal_body_is_a_new_sample(
    connection: sqlite3.Connection,
) -> None:
    lost(connection, b"a")

    assert UnansweredRequests(LIMITS).claim(connection, b"a", now=900.0) is not None
    assert UnansweredRequests(LIMITS).claim(connection, b"a", now=900.1) is None
    lost(connection, b"b", now=900.1)
    assert held(connection)[0] == 1


def test_rows_and_bytes_are_bounded(connection: sqlite3.Connection) -> None:
    for number in range(640):
        lost(connection, b"%03d" % number)
        assert held(connection)[0] < 100 + 64
    assert held(connection) == (100, 3000)
    assert UnansweredRequests(LIMITS).claim(connection, b"639", now=1.0) is not None

    for number in range(640, 704):
        lost(connection, b"%03d" % number, size=200)
    assert held(connection)[1] <= 10_000


def test_a_stream_that_is_set_back_takes_its_rows_along(connection: sqlite3.Connection) -> None:
    lost(connection, b"a")

    unanswered_table.forget_stream(connection, 2)
    assert held(connection)[0] == 1
    unanswered_table.forget_stream(connection, 1)
    assert held(connection)[0] == 0
