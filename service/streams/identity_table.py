"""The one row that says which state this is, how many commits it holds and what time it had.

Knows SQL and nothing of threads or HTTP.
"""

import sqlite3
import uuid
from dataclasses import dataclass, replace

from service.streams.faults import StateDamaged
from service.streams.row_check import require_intact, row_check

SCHEMA = """
CREATE TABLE identity (
  one       INTEGER PRIMARY KEY CHECK (one = 1),
  name      TEXT NOT NULL,
  commits   INTEGER NOT NULL,
  clock     REAL,
  row_check BLOB NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """The row.

    Attributes:
        name: of the state, 32 hex digits, for as long as the file lives.
        commits: transactions that it holds.
        clock: the state's time at the last of them; None before the first.
    """

    name: str
    commits: int
    clock: float | None


def create(connection: sqlite3.Connection, *, clock: float | None) -> None:
    """Name a state that has no name yet.

    Args:
        connection: in the transaction that makes the tables.
        clock: the newest time in the file; None: it is new.
    """
    _write(connection, Identity(uuid.uuid4().hex, 0, clock))


def read(connection: sqlite3.Connection) -> Identity:
    """The row.

    Raises:
        StateDamaged: it isn't there, or not as it was written.
    """
    row = connection.execute("SELECT name, commits, clock, row_check FROM identity").fetchone()
    if row is None:
        raise StateDamaged("the state file's own name is gone")
    *cells, check = row
    require_intact(check, *cells)
    return Identity(*cells)


def committing(connection: sqlite3.Connection, identity: Identity, *, clock: float) -> Identity:
    """Count the transaction that is about to end, and the time that it had."""
    counted = replace(identity, commits=identity.commits + 1, clock=clock)
    _write(connection, counted)
    return counted


def _write(connection: sqlite3.Connection, identity: Identity) -> None:
    cells = (identity.name, identity.commits, identity.clock)
    connection.execute(
        "INSERT OR REPLACE INTO identity (one, name, commits, clock, row_check)"
        " VALUES (1, ?, ?, ?, ?)",
        (*cells, row_check(*cells)),
    )
