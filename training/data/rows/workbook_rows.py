"""A sheet of an Excel workbook (.xlsx) as rows; needs the extra `xlsx`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from training.data.rows.csv_rows import checked_header
from training.data.rows.row import Cells, Row, RowProblem
from training.errors import DataError

_DEFECTS = {"f": "a formula; paste its value in its place", "e": "an error"}
"""By openpyxl's name of a cell's type: what is no value that anybody has written there."""


class WorkbookRows:
    """The rows of one sheet under its first row, which names the columns; empty cells are left out.

    Args:
        path: of the workbook.
        sheet: name of the sheet; None where only one holds anything.

    Raises:
        DataError: it is no workbook, openpyxl is not installed, or it must be said which sheet.
    """

    total = None

    def __init__(self, path: Path, *, sheet: str | None = None) -> None:
        try:
            from openpyxl import load_workbook
        except ImportError as error:
            raise DataError(
                f"{path} needs openpyxl to be read; install it with: pip install 'rewardd[xlsx]'"
            ) from error
        self._path = path
        self.done = 0
        with self._reading():
            # Formulas stay formulas: their cached values are absent or stale in many files.
            self._workbook: Any = load_workbook(path, read_only=True, data_only=False)
        self._sheet: Any = self._chosen(sheet)

    def read(self, first: int = 0) -> Iterator[Row]:
        """See `training.data.rows.row.Rows`; a row with a formula has a problem."""
        with self._reading():
            yield from islice(self._rows(), first, None)

    def close(self) -> None:
        """Close the file."""
        self._workbook.close()

    def _rows(self) -> Iterator[Row]:
        header: list[str] | None = None
        for number, cells in enumerate(self._cells(), start=1):
            self.done = number
            if all(cell.value is None for cell in cells):
                continue
            if header is None:
                names = ["" if cell.value is None else str(cell.value) for cell in cells]
                header = checked_header(names, f"{self._path}, sheet {self._sheet.title}")
            else:
                yield _row(number, header, cells)

    def _cells(self) -> Iterator[Sequence[Any]]:
        self._sheet.reset_dimensions()  # which some programs write wrong
        yield from self._sheet.iter_rows()

    def _chosen(self, name: str | None) -> Any:
        sheets = {sheet.title: sheet for sheet in self._workbook.worksheets}
        if name is not None:
            if name not in sheets:
                raise DataError(f"{self._path} has no sheet {name!r}; it has {', '.join(sheets)}")
            return sheets[name]
        filled = [sheet for sheet in sheets.values() if _holds_anything(sheet)]
        if len(filled) > 1:
            names = ", ".join(sheet.title for sheet in filled)
            raise DataError(
                f"{self._path} has several sheets ({names}); name one: "
                f"{self._path}@{filled[0].title}"
            )
        if not filled:
            raise DataError(f"{self._path} holds nothing in any sheet")
        return filled[0]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (OSError, BadZipFile, KeyError, ValueError) as error:
            raise DataError(
                f"{self._path} can't be read as an Excel workbook ({type(error).__name__}); save "
                "it as .xlsx or as CSV"
            ) from error


def _row(number: int, header: Sequence[str], cells: Sequence[Any]) -> Row:
    values: dict[str, Any] = {}
    for position, cell in enumerate(cells):
        if cell.value is None:
            continue
        defect = _DEFECTS.get(cell.data_type)
        name = header[position] if position < len(header) else ""
        if defect is not None:
            detail = f"cell {cell.coordinate} holds {defect}"
        elif not name:
            detail = f"cell {cell.coordinate} stands in a column without a name"
        else:
            values[name] = cell.value
            continue
        return Row(number, {}, RowProblem("not_a_value", detail=detail), is_line=True)
    empty = [name for name in header if name and name not in values]
    return Row(number, Cells(values, empty), is_line=True)


def _holds_anything(sheet: Any) -> bool:
    sheet.reset_dimensions()
    return any(value is not None for row in sheet.iter_rows(values_only=True) for value in row)
