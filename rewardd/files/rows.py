"""Why a row, or a whole file, can't be scored.

A row that can't be read is a row with an error, so that its neighbours keep their places; a file
that can't be read on at all ends the run.
"""

from typing import Any

from training.data.rows.json_rows import MAX_ROW_BYTES
from training.data.rows.row import Row

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


def unreadable(row: Row) -> BadRow | None:
    """Why a row of the input can't be read; None where it can."""
    if row.problem is None:
        return None
    code, what = {
        "too_long": ("line_too_long", f"is longer than {MAX_ROW_BYTES} bytes"),
        "not_utf8": ("invalid_json", f"is not UTF-8 (byte {row.problem.at})"),
        "not_json": (
            "invalid_json",
            f"is not JSON: {row.problem.detail} (column {row.problem.at})",
        ),
        "not_strict_json": (
            "invalid_json",
            "is not strict JSON: NaN, Infinity, or nested too deep",
        ),
        "not_csv": ("invalid_row", f"is not valid CSV: {row.problem.detail}"),
        "cell_count": ("invalid_row", f"has {row.problem.detail}"),
        "not_a_value": ("invalid_row", f"can't be read: {row.problem.detail}"),
    }.get(row.problem.defect, ("invalid_row", "is not a JSON object"))
    return BadRow(code, f"{place_of(row)} {what}")


def place_of(row: Row) -> str:
    """Where a row stands, as people count."""
    place = f"line {row.number}" if row.is_line else f"element {row.number + 1}"
    return f"{place} of the input"
