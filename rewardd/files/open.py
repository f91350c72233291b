"""Opening a file of rows by its name and beginning."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rewardd.files.rows import STDIN, BatchFailed
from training.data.formats.files import cell_values
from training.data.rows.json_rows import JsonLinesRows
from training.data.rows.open import JSON_LINES, TEXT_TABLES, WORKBOOK, open_file, suffix_of
from training.data.rows.row import Row, Rows
from training.data.rows.table_rows import DatasetRows, is_saved_dataset, load_saved_dataset


def open_rows(name: str, *, split: str | None = None) -> Rows:
    """Open an input by its name: JSON, CSV, TSV, .xlsx, .parquet, a directory, or "-".

    Args:
        name: path; "-" is JSON Lines from standard input.
        split: which split of a dataset directory, or sheet of a workbook, with several.
    """
    if name == STDIN:
        return JsonLinesRows(None)
    path = Path(name)
    if not path.exists():
        raise BatchFailed(f"{path} does not exist")
    if path.is_dir():
        return _dataset(path, split)
    suffix = suffix_of(path)
    if suffix in (*TEXT_TABLES, WORKBOOK):
        return CellRows(open_file(path, sheet=split))
    if suffix in {*JSON_LINES, ".json", ".parquet"}:
        return open_file(path)
    raise BatchFailed(
        f"{path}: the format is not known by its name; give .jsonl, .json, .csv, .tsv, any of them "
        "with .gz, .xlsx, .parquet, or the directory of a dataset (save_to_disk)"
    )


class CellRows:
    """A table whose cells are texts, of which some stand for chats, lists or true and false.

    Args:
        rows: as they lie in the file.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    @property
    def total(self) -> int | None:
        """See `Rows`."""
        return self._rows.total

    @property
    def done(self) -> int:
        """See `Rows`."""
        return self._rows.done

    def read(self, first: int = 0) -> Iterator[Row]:
        """See `Rows`."""
        for row in self._rows.read(first):
            yield replace(row, values=cell_values(row.values))

    def close(self) -> None:
        """See `Rows`."""
        self._rows.close()


def _dataset(path: Path, split: str | None) -> DatasetRows:
    """What `save_to_disk` wrote, or the named one of its splits."""
    if not is_saved_dataset(path):
        raise BatchFailed(
            f"{path} is not the directory of a dataset (save_to_disk); give the data files in it "
            "one by one"
        )
    loaded = load_saved_dataset(path)
    if isinstance(loaded, dict):
        if split is None and len(loaded) == 1:
            (split,) = loaded
        if split is None or split not in loaded:
            raise BatchFailed(f"{path} has the splits {', '.join(loaded)}; name one with --split")
        loaded = loaded[split]
    elif split is not None:
        raise BatchFailed(f"{path} has no splits; leave --split out")
    return DatasetRows(loaded)
