import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.training.data.rows.workbooks import write_workbook
from training.data.formats.options import FormatOptions
from training.data.formats.sources import parts_of
from training.data.rows.row import Row
from training.data.rows.workbook_rows import WorkbookRows
from training.errors import DataError

ROWS = [{"prompt": "a", "chosen": "b\nc", "margin": 0.5}, {"prompt": "d", "chosen": "e"}]


def read(path: Path, **options: Any) -> list[Row]:
    with closing(WorkbookRows(path, **options)) as rows:
        return list(rows.read())


def test_a_row_is_named_by_its_number_in_the_sheet(tmp_path: Path) -> None:
    path = write_workbook(tmp_path / "a.xlsx", ROWS, empty=[])

    found = read(path)

    assert [row.values for row in found] == ROWS
    assert [(row.number, row.is_line) for row in found] == [(2, True), (3, True)]
    with closing(WorkbookRows(path)) as rows:
        assert [row.values for row in rows.read(1)] == ROWS[1:]


def test_which_of_several_sheets_must_be_said(tmp_path: Path) -> None:
    path = write_workbook(tmp_path / "a.xlsx", ROWS, other=[["prompt"], ["f"]])

    with pytest.raises(DataError, match=r"several sheets \(rows, other\).*a\.xlsx@rows"):
        read(path)
    with pytest.raises(DataError, match="no sheet 'third'; it has rows, other"):
        read(path, sheet="third")
    assert [row.values for row in read(path, sheet="other")] == [{"prompt": "f"}]
    (part,) = parts_of(f"{path}@rows", FormatOptions())
    assert [row.value for row in part.rows(part.label)] == ROWS
    assert next(part.rows(part.label)).where == "a.xlsx@rows:2"


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        (["=A2&A2", "x"], "cell A3 holds a formula; paste its value in its place"),
        (["x", "y", "z"], "cell C3 stands in a column without a name"),
    ],
)
def test_what_is_no_value_that_somebody_wrote_is_that_rows_problem(
    tmp_path: Path, cells: list[str], problem: str
) -> None:
    table = [["prompt", "chosen"], ["a", "b"], cells, ["c", "d"]]
    path = write_workbook(tmp_path / "a.xlsx", [], rows2=table)

    found = read(path)

    assert [row.problem.detail if row.problem else None for row in found] == [None, problem, None]


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = write_workbook(tmp_path / "a.xlsx", [], twice=[["prompt", "prompt"], ["a", "b"]])

    with pytest.raises(DataError, match="sheet twice has two columns `prompt`"):
        read(path)


def test_without_openpyxl_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)

    with pytest.raises(DataError, match=r"pip install 'rewardd\[xlsx\]'"):
        WorkbookRows(tmp_path / "a.xlsx")
