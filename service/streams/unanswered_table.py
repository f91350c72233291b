"""Keyless requests that were counted and whose reply has not left yet, or never did.

A row is written in the transaction that counts and deleted when the reply has been sent; what is
left after that lost its caller. Knows SQL and nothing of threads or HTTP.
"""

import sqlite3
from dataclasses import dataclass

# By itself in the file and added to one that lacks it: an older rewardd just doesn't look at it.
SCHEMA = """
CREATE TABLE IF NOT EXISTS unanswered (
  receipt    INTEGER PRIMARY KEY AUTOINCREMENT,
  digest     BLOB NOT NULL,
  settlement BLOB NOT NULL,
  stream_id  INTEGER,
  created    REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS unanswered_digest ON unanswered (digest);
CREATE INDEX IF NOT EXISTS unanswered_created ON unanswered (created);
"""

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
class Claimed:
    """What a request left whose reply did not; whoever claimed it sends the reply again."""

    settlement: bytes
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

    def insert(
        self,
        connection: sqlite3.Connection,
        digest: bytes,
        settlement: bytes,
        *,
        stream_id: int | None,
        now: float,
    ) -> int:
        """Remember that a request was counted.

        Returns:
            Its receipt, which `being_answered` wants to hear of after the commit.
        """
        cursor = connection.execute(
            "INSERT INTO unanswered (digest, settlement, stream_id, created) VALUES (?, ?, ?, ?)",
            (digest, settlement, stream_id, now),
        )
        receipt = int(cursor.lastrowid or 0)
        self._evict(connection, newest=receipt, now=now)
        return receipt

    def being_answered(self, receipt: int) -> None:
        """Nobody may claim this one until it is settled."""
        self._being_answered.add(receipt)

    def claim(self, connection: sqlite3.Connection, digest: bytes, *, now: float) -> Claimed | None:
        """What the oldest equal request left whose reply was lost; it is the caller's now."""
        rows = connection.execute(
            "SELECT settlement, receipt FROM unanswered WHERE digest = ? AND created >= ?"
            " ORDER BY receipt",
            (digest, now - self._limits.max_age_seconds),
        )
        lost = (Claimed(*row) for row in rows if row[1] not in self._being_answered)
        found = next(lost, None)
        if found is not None:
            self.being_answered(found.receipt)
        return found

    def settle(self, connection: sqlite3.Connection, receipt: int, *, answered: bool) -> None:
        """Forget a request whose reply has left; give one free whose reply was lost.

        It survives a kill; a crash of the machine is not worth waiting for the disk.
        """
        self._being_answered.discard(receipt)
        if not answered:
            return
        connection.execute("PRAGMA synchronous = NORMAL")
        try:
            connection.execute("DELETE FROM unanswered WHERE receipt = ?", (receipt,))
        finally:
            connection.execute("PRAGMA synchronous = FULL")

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
