"""A check of every row: no cell changes unnoticed."""

import itertools
import sqlite3

import pytest

from service.streams.faults import StateDamaged
from service.streams.row_check import Cell, require_intact, row_check, teach

ROWS: list[tuple[Cell, ...]] = [
    (),
    (None,),
    (0,),
    (0.0,),
    ("",),
    (b"",),
    ("0",),
    (b"0",),
    ("a", "bc"),
    ("ab", "c"),
    (1, 23),
    (12, 3),
    (1.5, -1.5),
    (None, None),
]


def test_rows_of_other_cells_have_other_checks() -> None:
    for one, other in itertools.combinations(ROWS, 2):
        assert row_check(*one) != row_check(*other), (one, other)


def test_it_is_the_same_after_sqlite_has_kept_the_cells() -> None:
    connection = sqlite3.connect(":memory:")
    teach(connection)
    connection.execute("CREATE TABLE kept (a REAL, b REAL, c INTEGER, d TEXT, e BLOB, f REAL)")
    cells: tuple[Cell, ...] = (-0.0, 3.0, -(2**62), "é\u2028", b"\x00\xff", None)
    connection.execute("INSERT INTO kept VALUES (?, ?, ?, ?, ?, ?)", cells)

    (found,) = connection.execute("SELECT check_of_row(a, b, c, d, e, f) FROM kept").fetchone()

    assert found == row_check(*cells)
    require_intact(found, *cells)
    with pytest.raises(StateDamaged):
        require_intact(found, *cells[:-1], 0.0)
    connection.close()
