"""Opens a file of rows by its name."""

from collections.abc import Callable, Mapping
from pathlib import Path

from training.data.rows.json_rows import JsonArrayRows, JsonLinesRows
from training.data.rows.row import Rows
from training.data.rows.table_rows import ArrowRows, CsvRows, ParquetRows

JSON_LINES = (".jsonl", ".ndjson")
_TABLES: Mapping[str, Callable[[Path], Rows]] = {
    ".csv": CsvRows,
    ".parquet": ParquetRows,
    ".arrow": ArrowRows,
}


def open_file(path: Path, *, allows_nan: bool = False) -> Rows:
    """The rows of a file: .jsonl, .json (an array), .csv, any of them with .gz, .parquet, .arrow.

    Args:
        path: of the file.
        allows_nan: take NaN and Infinity for numbers, which strict JSON doesn't know.
    """
    suffix = suffix_of(path)
    if suffix in JSON_LINES:
        return JsonLinesRows(path, allows_nan=allows_nan)
    if suffix == ".json":
        return JsonArrayRows(path, allows_nan=allows_nan)
    return _TABLES[suffix](path)


def suffix_of(path: Path) -> str:
    """What a file's name ends with, in small letters, without .gz."""
    return Path(path.name.lower().removesuffix(".gz")).suffix
