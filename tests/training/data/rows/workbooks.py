"""Workbooks as a spreadsheet program would save them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openpyxl import Workbook


def write_workbook(
    path: Path, rows: Sequence[Mapping[str, Any]], **sheets: Sequence[Sequence[Any]]
) -> Path:
    """A workbook with a sheet "rows" of these rows, and further sheets of plain cells."""
    workbook = Workbook()
    sheet = workbook.active
    sheet.title = "rows"
    header = list(dict.fromkeys(name for row in rows for name in row))
    for cells in [header, *([row.get(name) for name in header] for row in rows)]:
        sheet.append(cells)
    for title, table in sheets.items():
        further = workbook.create_sheet(title)
        for cells in table:
            further.append(cells)
    workbook.save(path)
    return path
