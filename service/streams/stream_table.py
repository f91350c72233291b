"""Streams: named running statistics, one per training run, and the item ids they have counted.

Knows SQL and the pure statistics, nothing of threads or HTTP; `service.streams.store` decides what
shares a transaction.
"""

import hashlib
import re
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rm_core.rewards import Statistics, decay, merge
from service.streams.row_check import FUNCTION, Cell, require_intact, row_check

STREAM_NAME_PATTERN = r"^[A-Za-z0-9._-]{1,64}$"
DEFAULT_STREAM = "default"

EMPTY = Statistics()

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
CELLS = (
    "name, count, mean, m2, num_samples, version, generation, half_life, frozen, created,"
    " updated, num_ids, degrees_of_freedom"
)
"""What a stream's check is made of, in order; its id stands in the name's index too."""
ITEM_CELLS = "stream_id, item, position, text"
"""The same of a counted item."""
_COLUMNS = f"{CELLS}, id, row_check"
_PLACES = ", ".join("?" * 14)

SCHEMA = """
CREATE TABLE stream (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  name        TEXT NOT NULL UNIQUE,
  count       REAL NOT NULL,
  mean        REAL NOT NULL,
  m2          REAL NOT NULL,
  num_samples INTEGER NOT NULL,
  version     INTEGER NOT NULL,
  generation  INTEGER NOT NULL,
  half_life   REAL,
  frozen      INTEGER NOT NULL,
  created     REAL NOT NULL,
  updated     REAL NOT NULL,
  num_ids     INTEGER NOT NULL,
  degrees_of_freedom REAL,
  row_check   BLOB NOT NULL
);
CREATE TABLE counted_item (
  stream_id INTEGER NOT NULL,
  item      BLOB NOT NULL,
  position  INTEGER NOT NULL,
  text      BLOB,
  row_check BLOB NOT NULL,
  PRIMARY KEY (stream_id, item)
) WITHOUT ROWID;
CREATE INDEX counted_item_position ON counted_item (stream_id, position);
"""

# Null is what a file of the first version means: every value weighs 1.
MIGRATION_TO_2 = ("ALTER TABLE stream ADD COLUMN degrees_of_freedom REAL",)
# Null is what an item's text is of which nobody kept what it was: any text may be it.
MIGRATION_TO_3 = (
    "ALTER TABLE stream ADD COLUMN row_check BLOB",
    f"UPDATE stream SET row_check = {FUNCTION}({CELLS})",  # noqa: S608 (constants of this file)
    "ALTER TABLE counted_item ADD COLUMN text BLOB",
    "ALTER TABLE counted_item ADD COLUMN row_check BLOB",
    f"UPDATE counted_item SET row_check = {FUNCTION}({ITEM_CELLS})",  # noqa: S608
)


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream as it stands.

    Attributes:
        name: `[A-Za-z0-9._-]{1,64}`.
        statistics: count (baseline and forgetting included), mean, m2 and degrees of freedom.
        num_samples: how many rewards were ever merged since the last reset or restore, unweighted.
        version: grows by one with every change.
        generation: grows by one when the statistics are set back (reset, restore).
        half_life: samples after which the past counts half; None forgets nothing.
        frozen: True: used, never updated.
        created: unix time, seconds.
        updated: unix time of the last change, seconds.
        id: the row's; 0 while the stream is not stored.
        num_ids: how many item ids were ever counted; the newest are remembered.
    """

    name: str
    statistics: Statistics = EMPTY
    num_samples: int = 0
    version: int = 0
    generation: int = 0
    half_life: float | None = None
    frozen: bool = False
    created: float = 0.0
    updated: float = 0.0
    id: int = 0
    num_ids: int = 0

    def merged(self, batch: Statistics, *, num_samples: int, now: float) -> "Stream":
        """The stream after a request's rewards: the past decays, the batch is merged.

        Args:
            batch: the rewards' statistics by the stream's half-life.
            num_samples: how many rewards they are.
            now: unix time, seconds.
        """
        past = decay(self.statistics, num_samples, half_life=self.half_life)
        return replace(
            self,
            statistics=merge(past, batch),
            num_samples=self.num_samples + num_samples,
            version=self.version + 1,
            updated=now,
        )

    def set_back(self, statistics: Statistics, *, now: float) -> "Stream":
        """The stream with statistics from elsewhere: a new generation that has counted no item."""
        return replace(
            self,
            statistics=statistics,
            num_samples=0,
            num_ids=0,
            version=self.version + 1,
            generation=self.generation + 1,
            updated=now,
        )


def is_name(name: str) -> bool:
    """Whether a stream may be called so."""
    return _NAME.match(name) is not None


def find(connection: sqlite3.Connection, name: str) -> Stream | None:
    """The stream of that name, or None.

    Raises:
        StateDamaged: the row is not what was written.
    """
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM stream WHERE name = ?",  # noqa: S608 (a constant of this file)
        (name,),
    ).fetchone()
    return None if row is None else _stream(row)


def find_all(connection: sqlite3.Connection) -> list[Stream]:
    """Every stream, by name."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM stream ORDER BY name"  # noqa: S608 (a constant of this file)
    )
    return [_stream(row) for row in rows]


def number_of(connection: sqlite3.Connection) -> int:
    """How many streams are stored."""
    return int(connection.execute("SELECT count(*) FROM stream").fetchone()[0])


def save(connection: sqlite3.Connection, stream: Stream) -> Stream:
    """Insert or update the stream's row; the stream comes back with its id."""
    cells = _cells(stream)
    values = (*cells, row_check(*cells))
    if stream.id:
        connection.execute(
            f"UPDATE stream SET ({CELLS}, row_check) = ({_PLACES}) WHERE id = ?",  # noqa: S608
            (*values, stream.id),
        )
        return stream
    cursor = connection.execute(
        f"INSERT INTO stream ({CELLS}, row_check) VALUES ({_PLACES})",  # noqa: S608
        values,
    )
    return replace(stream, id=int(cursor.lastrowid or 0))


def delete(connection: sqlite3.Connection, stream: Stream) -> None:
    """Delete the stream's row and its item ids."""
    forget_items(connection, stream)
    connection.execute("DELETE FROM stream WHERE id = ?", (stream.id,))


def counted(
    connection: sqlite3.Connection, stream: Stream, ids: Iterable[str]
) -> dict[str, bytes | None]:
    """Which of these item ids the stream has counted, and the digest of each one's text.

    Raises:
        StateDamaged: a row is not what was written.
    """
    if not stream.id:
        return {}
    found: dict[str, bytes | None] = {}
    for item in ids:
        row = connection.execute(
            f"SELECT {ITEM_CELLS}, row_check FROM counted_item"  # noqa: S608
            " WHERE stream_id = ? AND item = ?",
            (stream.id, _item_digest(item)),
        ).fetchone()
        if row is not None:
            *cells, check = row
            require_intact(check, *cells)
            found[item] = cells[-1]
    return found


def count_items(
    connection: sqlite3.Connection,
    stream: Stream,
    items: Mapping[str, bytes | None],
    *,
    max_ids: int,
) -> tuple[Stream, int]:
    """Remember item ids that the stream had not counted; the oldest beyond `max_ids` go.

    Args:
        connection: in a transaction.
        stream: saved.
        items: digest of each id's text; None where nobody knows it.
        max_ids: the most that are remembered.

    Returns:
        The stream with its new `num_ids` (not saved yet), and how many ids were forgotten.
    """
    if not items:
        return stream, 0
    rows = [
        (stream.id, _item_digest(item), stream.num_ids + offset, text)
        for offset, (item, text) in enumerate(items.items(), start=1)
    ]
    connection.executemany(
        f"INSERT INTO counted_item ({ITEM_CELLS}, row_check) VALUES (?, ?, ?, ?, ?)",  # noqa: S608
        [(*cells, row_check(*cells)) for cells in rows],
    )
    num_ids = stream.num_ids + len(items)
    forgotten = connection.execute(
        "DELETE FROM counted_item WHERE stream_id = ? AND position <= ?",
        (stream.id, num_ids - max_ids),
    ).rowcount
    return replace(stream, num_ids=num_ids), int(forgotten)


def forget_items(connection: sqlite3.Connection, stream: Stream) -> None:
    """Delete all item ids of a stream."""
    connection.execute("DELETE FROM counted_item WHERE stream_id = ?", (stream.id,))


def _item_digest(item: str) -> bytes:
    # Fixed size whatever the id, and no caller's text on the disk; 2^64 ids until a likely clash.
    return hashlib.blake2b(item.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _cells(stream: Stream) -> tuple[Cell, ...]:
    statistics, degrees = stream.statistics, stream.statistics.degrees_of_freedom
    return (
        stream.name,
        float(statistics.count),
        float(statistics.mean),
        float(statistics.m2),
        stream.num_samples,
        stream.version,
        stream.generation,
        None if stream.half_life is None else float(stream.half_life),
        int(stream.frozen),
        float(stream.created),
        float(stream.updated),
        stream.num_ids,
        None if degrees is None else float(degrees),
    )


def _stream(row: tuple[Any, ...]) -> Stream:
    *cells, id_, check = row
    require_intact(check, *cells)
    (name, count, mean, m2, num_samples, version, generation, half_life, frozen, *rest) = cells
    created, updated, num_ids, degrees_of_freedom = rest
    return Stream(
        name=name,
        statistics=Statistics(count, mean, m2, degrees_of_freedom),
        num_samples=num_samples,
        version=version,
        generation=generation,
        half_life=half_life,
        frozen=bool(frozen),
        created=created,
        updated=updated,
        id=id_,
        num_ids=num_ids,
    )
