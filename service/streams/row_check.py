"""A check for each row, so that a byte which the disk changed is noticed before it is believed.

SQLite guards its log with checksums and its pages with none: a flipped bit in a mean is a mean.
"""

import hashlib
import sqlite3
import struct

from service.streams.faults import StateDamaged

Cell = int | float | str | bytes | None

FUNCTION = "check_of_row"
"""What `row_check` is called in SQL, on connections that were `taught`."""

_FLOAT = struct.Struct("<d")


def row_check(*cells: Cell) -> bytes:
    """8 bytes that another row has by chance once in 2^64.

    Args:
        cells: of a row as SQLite gives them back, in a fixed order.
    """
    parts: list[bytes] = []
    for cell in cells:  # joined first: opening a file calls this for each of its rows
        if cell is None:
            parts.append(b"n")
        elif isinstance(cell, float):
            parts.append(b"f" + _FLOAT.pack(cell + 0.0))  # SQLite knows no negative zero
        elif isinstance(cell, int):
            parts.append(b"i%d;" % cell)
        else:
            kind, value = (b"s", cell.encode()) if isinstance(cell, str) else (b"b", cell)
            parts += (b"%b%d;" % (kind, len(value)), value)
    return hashlib.blake2b(b"".join(parts), digest_size=8).digest()


def require_intact(found: bytes | None, *cells: Cell) -> None:
    """Compare a row's check with its cells.

    Raises:
        StateDamaged: they don't belong together.
    """
    if found != row_check(*cells):
        raise StateDamaged("a row of the state file is not what was written into it")


def teach(connection: sqlite3.Connection) -> None:
    """Give a connection the SQL function."""
    connection.create_function(FUNCTION, -1, row_check, deterministic=True)
