"""The idempotency ledger's rows: which keyed requests were answered, and with which bytes.

Knows SQL and nothing of threads or HTTP; `service.streams.store` decides what shares a transaction.
"""

import sqlite3
from dataclasses import dataclass

from service.streams.row_check import FUNCTION, require_intact, row_check

MAX_KEY_CHARACTERS = 255

SCHEMA = """
CREATE TABLE ledger (
  seq        INTEGER PRIMARY KEY AUTOINCREMENT,
  key        TEXT NOT NULL UNIQUE,
  digest     BLOB NOT NULL,
  status     INTEGER NOT NULL,
  response   BLOB NOT NULL,
  stream_id  INTEGER,
  created    REAL NOT NULL,
  end_offset INTEGER NOT NULL,
  row_check  BLOB NOT NULL
);
CREATE INDEX ledger_created ON ledger (created);
CREATE INDEX ledger_stream ON ledger (stream_id, seq);
"""

CELLS = "key, digest, status, response, stream_id, created, end_offset"
"""What a row's check is made of, in order."""
MIGRATION_TO_3 = (
    "ALTER TABLE ledger ADD COLUMN row_check BLOB",
    f"UPDATE ledger SET row_check = {FUNCTION}({CELLS})",  # noqa: S608 (a constant of this file)
)


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """What a client calls its request, and what it sent.

    Attributes:
        key: the header's value, 1 to 255 characters.
        digest: sha256 over the route and the body's bytes, 32 bytes.
    """

    key: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class StoredReply:
    """A reply as it left, byte for byte."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class LedgerLimits:
    """How much the ledger remembers; the oldest rows go first.

    Attributes:
        max_rows: the most replies.
        max_age_seconds: a reply's life.
        max_bytes: the most bytes of replies together.
    """

    max_rows: int = 200_000
    max_age_seconds: float = 86_400.0
    max_bytes: int = 1 << 30


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One remembered reply and the digest of the request that it answered."""

    digest: bytes
    reply: StoredReply


def find(connection: sqlite3.Connection, key: str) -> LedgerRow | None:
    """The row of a key, or None.

    Raises:
        StateDamaged: it is not what was written.
    """
    row = connection.execute(
        f"SELECT {CELLS}, row_check FROM ledger WHERE key = ?",  # noqa: S608
        (key,),
    ).fetchone()
    if row is None:
        return None
    *cells, check = row
    require_intact(check, *cells)
    return LedgerRow(cells[1], StoredReply(cells[2], cells[3]))


def insert(
    connection: sqlite3.Connection,
    key: IdempotencyKey,
    reply: StoredReply,
    *,
    stream_id: int | None,
    now: float,
) -> None:
    """Remember a reply; `end_offset` runs on, so that the bytes held are one subtraction away."""
    last = connection.execute("SELECT end_offset FROM ledger ORDER BY seq DESC LIMIT 1").fetchone()
    end_offset = (last[0] if last else 0) + len(reply.body)
    cells = (key.key, key.digest, reply.status, reply.body, stream_id, float(now), end_offset)
    connection.execute(
        f"INSERT INTO ledger ({CELLS}, row_check) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (*cells, row_check(*cells)),
    )


def evict(connection: sqlite3.Connection, limits: LedgerLimits, *, now: float) -> int:
    """Delete what is too old or too much, oldest first; the newest row always stays.

    Rows deleted by `forget_stream` leave gaps in `seq` and `end_offset`, so that the bounds err on
    the side of holding less.

    Returns:
        How many rows went.
    """
    newest = connection.execute(
        "SELECT seq, end_offset FROM ledger ORDER BY seq DESC LIMIT 1"
    ).fetchone()
    if newest is None:
        return 0
    seq, end_offset = newest
    too_old = connection.execute(
        "DELETE FROM ledger WHERE created < ? AND seq < ?", (now - limits.max_age_seconds, seq)
    ).rowcount
    too_many = connection.execute(
        "DELETE FROM ledger WHERE seq <= ?", (seq - limits.max_rows,)
    ).rowcount
    too_large = 0
    first = connection.execute(
        "SELECT end_offset - length(response) FROM ledger ORDER BY seq LIMIT 1"
    ).fetchone()
    if end_offset - first[0] > limits.max_bytes:
        kept_from = connection.execute(
            "SELECT max(seq) FROM ledger WHERE end_offset - length(response) < ?",
            (end_offset - limits.max_bytes,),
        ).fetchone()[0]
        too_large = connection.execute(
            "DELETE FROM ledger WHERE seq <= ? AND seq < ?", (kept_from, seq)
        ).rowcount
    return int(too_old + too_many + too_large)


def forget_stream(connection: sqlite3.Connection, stream_id: int) -> None:
    """Delete the replies that used a stream which was set back.

    A trainer that resumes from a checkpoint sends the same keys again, with new samples; they must
    neither be refused nor answered from the time before.
    """
    connection.execute("DELETE FROM ledger WHERE stream_id = ?", (stream_id,))


def entries(connection: sqlite3.Connection) -> int:
    """How many replies are remembered, at most: gaps count too."""
    first, last = connection.execute("SELECT min(seq), max(seq) FROM ledger").fetchone()
    return 0 if first is None else int(last - first + 1)
