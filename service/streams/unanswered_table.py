"""Keyless requests that were counted and whose reply has not left yet, or never did.

A row is written in the transaction that counts and deleted when the reply has been sent; what is
left after that lost its caller. Knows SQL and nothing of threads or HTTP.
"""

import sqlite3
from dataclasses import dataclass

from service.streams.row_check import FUNCTION, require_intact, row_check

SCHEMA = """
CREATE TABLE unanswered (
  receipt    INTEGER PRIMARY KEY AUTOINCREMENT,
  digest     BLOB NOT NULL,
  settlement BLOB NOT NULL,
  stream_id  INTEGER,
  created    REAL NOT NULL,
  row_check  BLOB NOT NULL
);
CREATE INDEX unanswered_digest ON unanswered (digest);
CREATE INDEX unanswered_created ON unanswered (created);
"""

CELLS = "digest, settlement, stream_id, created"
"""What a row's check is made of, in order."""
MIGRATION_TO_3 = (
    # Files of the second version have it or not: it came without a version of its own.
    "CREATE TABLE IF NOT EXISTS unanswered (receipt INTEGER PRIMARY KEY AUTOINCREMENT,"
    " digest BLOB NOT NULL, settlement BLOB NOT NULL, stream_id INTEGER, created REAL NOT NULL)",
    "CREATE INDEX IF NOT EXISTS unanswered_digest ON unanswered (digest)",
    "CREATE INDEX IF NOT EXISTS unanswered_created ON unanswered (created)",
    "ALTER TABLE unanswered ADD COLUMN row_check BLOB",
    f"UPDATE unanswered SET row_check = {FUNCTION}({CELLS})",  # noqa: S608 (constants)
)

_EVICT_EVERY = 64


@dataclass(frozen=True, slots=True)
class UnansweredLimits:
    """How much is remembered of requests whose reply was lost; the oldest go first.

    Attributes:
        max_age_seconds: how long an equal body is taken for a retry.
        max_rows: the most settlements, give or take 64.
        max_bytes: the most bytes of them.
    """

    max_age_seconds: float = 900.0
    max_rows: int = 10_000
    max_bytes: int = 1 << 28


@dataclass(frozen=True, slots=True)
class Unanswered:
    """What was counted for a request without a key, until its reply has left.

    Attributes:
        digest: of the request.
        settlement: what its reply is written from.
        stream_id: of the stream that counted it.
        receipt: by which the store knows it.
    """

    digest: bytes
    settlement: bytes
    stream_id: int | None
    receipt: int


class UnansweredRequests:
    """The rows, and which of them are being answered now, in this process.

    Belongs to one thread, the store's.

    Args:
        limits: bounds.
    """

    def __init__(self, limits: UnansweredLimits) -> None:
        self._limits = limits
        self._being_answered: set[int] = set()
        self._to_delete: set[int] = set()

    def insert(
        self,
        connection: sqlite3.Connection,
        digest: bytes,
        settlement: bytes,
        *,
        stream_id: int | None,
        now: float,
    ) -> Unanswered:
        """Remember that a request was counted; `being_answered` wants to hear after the commit."""
        cells = (digest, settlement, stream_id, float(now))
        cursor = connection.execute(
            f"INSERT INTO unanswered ({CELLS}, row_check) VALUES (?, ?, ?, ?, ?)",  # noqa: S608
            (*cells, row_check(*cells)),
        )
        receipt = int(cursor.lastrowid or 0)
        self._evict(connection, newest=receipt, now=now)
        return Unanswered(digest, settlement, stream_id, receipt)

    def being_answered(self, receipt: int) -> None:
        """Nobody may claim this one until it is settled."""
        self._being_answered.add(receipt)

    def claim(
        self, connection: sqlite3.Connection, digest: bytes, *, now: float
    ) -> Unanswered | None:
        """What the oldest equal request left whose reply was lost; it is the caller's now.

        Raises:
            StateDamaged: the row is not what was written.
        """
        rows = connection.execute(
            f"SELECT {CELLS}, row_check, receipt FROM unanswered"  # noqa: S608
            " WHERE digest = ? AND created >= ? ORDER BY receipt",
            (digest, now - self._limits.max_age_seconds),
        )
        row = next((row for row in rows if row[-1] not in self._being_answered), None)
        if row is None:
            return None
        *cells, check, receipt = row
        require_intact(check, *cells)
        self.being_answered(receipt)
        return Unanswered(digest, cells[1], cells[2], receipt)

    def settle(self, connection: sqlite3.Connection, receipt: int, *, answered: bool) -> None:
        """Forget a request whose reply has left; give one free whose reply was lost.

        It survives a kill; a crash of the machine is not worth waiting for the disk. What can't be
        deleted now is nobody's all the same, and goes with the next.
        """
        if not answered:
            self._being_answered.discard(receipt)
            return
        self._to_delete.add(receipt)
        connection.execute("PRAGMA synchronous = NORMAL")
        try:
            connection.executemany(
                "DELETE FROM unanswered WHERE receipt = ?", [(one,) for one in self._to_delete]
            )
        finally:
            connection.execute("PRAGMA synchronous = FULL")
        self._being_answered -= self._to_delete
        self._to_delete.clear()

    def _evict(self, connection: sqlite3.Connection, *, newest: int, now: float) -> None:
        """Delete what is too old, and from time to time what is too much, oldest first."""
        limits = self._limits
        connection.execute(
            "DELETE FROM unanswered WHERE created < ?", (now - limits.max_age_seconds,)
        )
        if newest % _EVICT_EVERY:
            return
        connection.execute(
            "DELETE FROM unanswered WHERE receipt IN (SELECT receipt FROM (SELECT receipt,"
            " row_number() OVER younger AS place, sum(length(settlement)) OVER younger AS held"
            " FROM unanswered WINDOW younger AS (ORDER BY receipt DESC))"
            " WHERE place > ? OR held > ?)",
            (limits.max_rows, limits.max_bytes),
        )


def forget_stream(connection: sqlite3.Connection, stream_id: int) -> None:
    """Delete what was counted in a stream that was set back."""
    connection.execute("DELETE FROM unanswered WHERE stream_id = ?", (stream_id,))
