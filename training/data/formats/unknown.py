"""What is told of a row in no known format: which column the nearest layout lacks."""

from collections.abc import Mapping, Sequence
from typing import Any

from training.data.formats.columns import COLUMN_FORMATS
from training.data.records import kind_of
from training.data.rows.row import absence, has_column, nearest

_PAIR = ("prompt", "chosen", "rejected")
_LAYOUTS: tuple[Sequence[str], ...] = (
    _PAIR,
    ("chosen", "rejected"),
    ("prompt", "responses", "ranking"),
    *(layout.columns for layout in COLUMN_FORMATS.values()),
)
"""The columns of what people write by hand, then of published data sets."""

_ENOUGH = 0.5
_MOST_NAMES = 12


def why_unknown(row: Mapping[str, Any]) -> str:
    """Why no format knows a row, in one sentence that names a column and not its value."""
    layout = max(_LAYOUTS, key=lambda columns: _likeness(columns, row))
    missing = [column for column in layout if row.get(column) is None]
    if _likeness(layout, row) < _ENOUGH:
        return _unlike(row)
    if missing:
        told = absence(row, missing[0])
        close = nearest(missing[0], row) if missing[0] in _PAIR else None
        return told + (_keys(row) if close and not has_column(row, missing[0]) else "")
    kinds = ", ".join(f"`{column}` {kind_of(row[column])}" for column in layout)
    return f"the columns hold what no format has together: {kinds}"


def _likeness(columns: Sequence[str], row: Mapping[str, Any]) -> float:
    """Which share of a layout's columns a row has, also under a name that is nearly theirs."""
    found = sum(
        1.0 if has_column(row, column) else 0.9 * bool(nearest(column, row)) for column in columns
    )
    return found / len(columns)


def _keys(row: Mapping[str, Any]) -> str:
    """How to say which columns are meant, where they are nearly those of a pair."""
    names = {
        column: column if has_column(row, column) else nearest(column, row) for column in _PAIR
    }
    told = ",".join(f"{column}_key={name}" for column, name in names.items() if name)
    return f" Rename it, or write after the file's name: ,{told}"


def _unlike(row: Mapping[str, Any]) -> str:
    found = [str(name) for name in row]
    listed = ", ".join(found[:_MOST_NAMES]) + (", …" if len(found) > _MOST_NAMES else "")
    return (
        f"the columns are {listed or 'none'}, and no format has such; say which are meant after "
        "the file's name: ,prompt_key=…,chosen_key=…,rejected_key=…"
    )
