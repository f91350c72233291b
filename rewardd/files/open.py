"""Opening a file of rows by its name and beginning."""

from pathlib import Path

from rewardd.files.json_rows import JsonArrayRows, JsonLinesRows, holds_array
from rewardd.files.rows import STDIN, BatchFailed, Rows
from rewardd.files.table_rows import DatasetRows, ParquetRows


def open_rows(name: str, *, split: str | None = None) -> Rows:
    """Open an input by its name: .jsonl, .json, either with .gz, .parquet, a directory, or "-".

    Args:
        name: path; "-" is JSON Lines from standard input.
        split: which split of a dataset directory with several.

    Raises:
        BatchFailed: there is no such file, or its format is not known.
    """
    if name == STDIN:
        return JsonLinesRows(None)
    path = Path(name)
    if not path.exists():
        raise BatchFailed(f"{path} does not exist")
    if path.is_dir():
        return DatasetRows(path, split)
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    suffix = suffixes[-1] if suffixes else ""
    if suffix == ".parquet":
        return ParquetRows(path)
    if suffix == ".json" and holds_array(path):
        return JsonArrayRows(path)
    if suffix in {".jsonl", ".ndjson", ".json"}:
        return JsonLinesRows(path)
    raise BatchFailed(
        f"{path}: the format is not known by its name; give .jsonl, .json, .jsonl.gz, .json.gz, "
        ".parquet, or the directory of a dataset (save_to_disk)"
    )
