"""One row of a file, what can be wrong with it, and a file that is open."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

RowDefect = Literal[
    "too_long",
    "not_utf8",
    "not_json",
    "not_strict_json",
    "not_an_object",
    "not_csv",
    "cell_count",
    "not_a_value",
]


@dataclass(frozen=True, slots=True)
class RowProblem:
    """Why a row can't be read, without its text.

    Attributes:
        defect: what is wrong.
        at: byte of the row that is no UTF-8, or column where it stops being JSON.
        detail: the parser's words.
    """

    defect: RowDefect
    at: int = 0
    detail: str = ""


class Cells(dict[str, Any]):
    """A table's row without its empty cells, whose columns it still knows.

    Args:
        values: of the cells that hold something.
        empty: the other columns' names.
    """

    def __init__(self, values: Mapping[str, Any], empty: Iterable[str]) -> None:
        super().__init__(values)
        self.empty = frozenset(empty)


def absence(values: Mapping[str, Any], column: str) -> str:
    """What is told of a column in which a row has nothing: null, empty, or another name."""
    if has_column(values, column):
        return f"`{column}` is {'null' if column in values else 'empty'}"
    close = nearest(column, values)
    return f"there is no `{column}`" + (f"; did you mean `{close}`?" if close else "")


def has_column(values: Mapping[str, Any], column: str) -> bool:
    """Whether a row has a column, be it null or empty."""
    return column in values or (isinstance(values, Cells) and column in values.empty)


def nearest(column: str, values: Iterable[str]) -> str | None:
    """The name that a column was probably meant to have; None where none is alike."""
    names = {name.strip().casefold(): name for name in values}
    close = difflib.get_close_matches(column.casefold(), names, n=1, cutoff=0.7)
    return names[close[0]] if close else None


@dataclass(frozen=True, slots=True)
class Row:
    """One row, or what is wrong with it.

    Attributes:
        number: of the line that it begins on, from 1; of the element, from 0, in a file without.
        values: its columns; empty where it can't be read.
        problem: why it can't be read.
        is_line: whether the number is a line's.
    """

    number: int
    values: dict[str, Any]
    problem: RowProblem | None = None
    is_line: bool = False


class Rows(Protocol):
    """A file that is open."""

    @property
    def total(self) -> int | None:
        """Its size in the unit of `done`; None where that isn't known."""
        ...

    @property
    def done(self) -> int:
        """How much of it was read."""
        ...

    def read(self, first: int = 0) -> Iterator[Row]:
        """Yield the rows from the `first`-th on, which counts from 0; to be called once.

        Raises:
            DataError: the file can't be read on.
        """
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...
