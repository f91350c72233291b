"""Opens a file of rows by its name."""

from pathlib import Path

from training.data.rows.csv_rows import TAB, CsvRows
from training.data.rows.json_rows import JsonArrayRows, JsonLinesRows, holds_lines
from training.data.rows.row import Rows
from training.data.rows.table_rows import ArrowRows, ParquetRows
from training.data.rows.workbook_rows import WorkbookRows

JSON_LINES = (".jsonl", ".ndjson")
TEXT_TABLES = (".csv", ".tsv")
WORKBOOK = ".xlsx"


def open_file(path: Path, *, allows_nan: bool = False, sheet: str | None = None) -> Rows:
    """The rows of a file.

    .jsonl, .json (an array, {"data": [...]}, or JSON Lines), .csv, .tsv, any of them with .gz;
    .parquet, .arrow, .xlsx.

    Args:
        path: of the file.
        allows_nan: take NaN and Infinity for numbers, which strict JSON doesn't know.
        sheet: of a workbook; None where only one holds anything.
    """
    suffix = suffix_of(path)
    if suffix in JSON_LINES or (suffix == ".json" and holds_lines(path)):
        return JsonLinesRows(path, allows_nan=allows_nan)
    if suffix == ".json":
        return JsonArrayRows(path, allows_nan=allows_nan)
    if suffix == ".csv":
        return CsvRows(path)
    if suffix == ".tsv":
        return CsvRows(path, separators=(TAB,))
    if suffix == WORKBOOK:
        return WorkbookRows(path, sheet=sheet)
    return ParquetRows(path) if suffix == ".parquet" else ArrowRows(path)


def suffix_of(path: Path) -> str:
    """What a file's name ends with, in small letters, without .gz."""
    return Path(path.name.lower().removesuffix(".gz")).suffix
