"""The rows of an input file, whatever its format, read one after the other.

A row that can't be read is a row with an error, so that its neighbours keep their places; a file
that can't be read on at all ends the run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

STDIN = "-"


class BatchFailed(Exception):
    """Raised when a run can't go on; the message says what to do."""


class BadRow(Exception):
    """Raised when one row can't be scored.

    Attributes:
        code: stable name of the reason.
        detail: what is wrong, without the row's text.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail

    def as_json(self) -> dict[str, Any]:
        """The result of such a row, as a server's reply would say it."""
        return {"error": {"code": self.code, "detail": self.detail, "pointer": ""}}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the input.

    Attributes:
        values: its columns; empty where the row can't be read.
        problem: why it can't be read.
    """

    values: dict[str, Any]
    problem: BadRow | None = None


class Rows(Protocol):
    """An input that is open."""

    @property
    def total(self) -> int | None:
        """Its size in the unit of `done`; None where that isn't known."""
        ...

    @property
    def done(self) -> int:
        """How much of it was read."""
        ...

    def read(self, first: int) -> Iterator[Row]:
        """The rows from number `first` on, which counts from 0; to be called once.

        Raises:
            BatchFailed: the input can't be read on.
        """
        ...

    def close(self) -> None:
        """Let go of the files."""
        ...
