"""Parquet files and Hugging Face datasets as rows, a few at a time.

Both need what the `train` extra installs, imported when such an input is opened.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rewardd.files.rows import BatchFailed, Row

_ROWS_AT_A_TIME = 64


class ParquetRows:
    """A Parquet file.

    Args:
        path: of the file.

    Raises:
        BatchFailed: it is no Parquet file.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        self._error = pa.ArrowException
        self._path = path
        try:
            self._file: Any = pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise BatchFailed(f"{path} is not a Parquet file: {type(error).__name__}") from error
        self.total: int = self._file.metadata.num_rows
        self.done = 0

    def read(self, first: int) -> Iterator[Row]:
        """See `rewardd.files.rows.Rows`."""
        metadata = self._file.metadata
        groups = list(range(self._file.num_row_groups))
        begin = 0  # the first row of the first group that is read
        while groups and begin + metadata.row_group(groups[0]).num_rows <= first:
            begin += metadata.row_group(groups.pop(0)).num_rows
        self.done = begin
        try:
            for batch in self._file.iter_batches(_ROWS_AT_A_TIME, row_groups=groups):
                for values in batch.to_pylist():
                    self.done += 1
                    if self.done > first:
                        yield Row(values)
        except (self._error, OSError) as error:
            raise BatchFailed(
                f"{self._path} can't be read beyond row {self.done}: {type(error).__name__}"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class DatasetRows:
    """A dataset as `save_to_disk` writes it; mapped into memory, not read into it.

    Args:
        path: its directory.
        split: which one, where there are several.

    Raises:
        BatchFailed: it is no such directory, or the split has to be named.
    """

    def __init__(self, path: Path, split: str | None) -> None:
        import datasets

        if not any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
            raise BatchFailed(
                f"{path} is not the directory of a dataset (save_to_disk); give the data files in "
                "it one by one"
            )
        loaded = datasets.load_from_disk(str(path))
        if isinstance(loaded, datasets.DatasetDict):
            names = ", ".join(loaded)
            if split is None and len(loaded) == 1:
                (split,) = loaded
            if split is None or split not in loaded:
                raise BatchFailed(f"{path} has the splits {names}; name one with --split")
            loaded = loaded[split]
        elif split is not None:
            raise BatchFailed(f"{path} has no splits; leave --split out")
        # Columns as they are stored: an image stays its bytes instead of being decoded.
        self._dataset: Any = loaded.with_format("arrow")
        self.total: int = len(loaded)
        self.done = 0

    def read(self, first: int) -> Iterator[Row]:
        """See `rewardd.files.rows.Rows`."""
        self.done = min(first, self.total)
        while self.done < self.total:
            part = self._dataset[self.done : min(self.done + _ROWS_AT_A_TIME, self.total)]
            for values in part.to_pylist():
                self.done += 1
                yield Row(values)

    def close(self) -> None:
        """Let go of the mapping."""
        del self._dataset
