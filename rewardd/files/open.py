"""Opening a file of rows by its name and beginning."""

from pathlib import Path

from rewardd.files.rows import STDIN, BatchFailed
from training.data.rows.json_rows import JsonLinesRows, holds_array
from training.data.rows.open import JSON_LINES, open_file, suffix_of
from training.data.rows.row import Rows
from training.data.rows.table_rows import DatasetRows, is_saved_dataset, load_saved_dataset


def open_rows(name: str, *, split: str | None = None) -> Rows:
    """Open an input by its name: .jsonl, .json, either with .gz, .parquet, a directory, or "-".

    Args:
        name: path; "-" is JSON Lines from standard input.
        split: which split of a dataset directory with several.
    """
    if name == STDIN:
        return JsonLinesRows(None)
    path = Path(name)
    if not path.exists():
        raise BatchFailed(f"{path} does not exist")
    if path.is_dir():
        return _dataset(path, split)
    suffix = suffix_of(path)
    if suffix == ".json" and not holds_array(path):
        return JsonLinesRows(path)
    if suffix in {*JSON_LINES, ".json", ".parquet"}:
        return open_file(path)
    raise BatchFailed(
        f"{path}: the format is not known by its name; give .jsonl, .json, .jsonl.gz, .json.gz, "
        ".parquet, or the directory of a dataset (save_to_disk)"
    )


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
