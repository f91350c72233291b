"""One row of a file, what can be wrong with it, and a file that is open."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

RowDefect = Literal[
    "too_long", "not_utf8", "not_json", "not_strict_json", "not_an_object", "not_csv", "cell_count"
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
