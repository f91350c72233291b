"""Parquet and Arrow files and Hugging Face datasets as rows, a few at a time.

They need what the `train` extra installs, imported when such a file is opened.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from training.data.rows.row import Row
from training.errors import DataError

_ROWS_AT_A_TIME = 64


class ParquetRows:
    """A Parquet file."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        self._path = path
        with _arrow_errors(f"{path} is not a Parquet file"):
            self._file: Any = pq.ParquetFile(path)
        self.total: int = self._file.metadata.num_rows
        self.done = 0

    def read(self, first: int = 0) -> Iterator[Row]:
        """See `training.data.rows.row.Rows`."""
        metadata = self._file.metadata
        groups = list(range(self._file.num_row_groups))
        begin = 0  # the first row of the first group that is read
        while groups and begin + metadata.row_group(groups[0]).num_rows <= first:
            begin += metadata.row_group(groups.pop(0)).num_rows
        self.done = begin
        batches = self._file.iter_batches(_ROWS_AT_A_TIME, row_groups=groups)
        with _arrow_errors(f"{self._path} can't be read as Parquet beyond row {begin}"):
            for batch in batches:
                for values in batch.to_pylist():
                    self.done += 1
                    if self.done > first:
                        yield Row(self.done - 1, values)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ArrowRows:
    """An Arrow stream (what `datasets` writes) or an Arrow file (Feather), mapped into memory."""

    total = None

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self._pa: Any = pa
        self._failure = f"{path} can't be read as Arrow"
        with _arrow_errors(self._failure):
            self._source: Any = pa.memory_map(str(path))
        self.done = 0

    def read(self, first: int = 0) -> Iterator[Row]:
        """See `training.data.rows.row.Rows`."""
        with _arrow_errors(self._failure):
            for batch in self._batches():
                begin = self.done
                self.done += len(batch)
                skipped = max(first - begin, 0)
                for number, values in enumerate(batch[skipped:].to_pylist(), begin + skipped):
                    yield Row(number, values)

    def _batches(self) -> Iterator[Any]:
        try:
            yield from self._pa.ipc.open_stream(self._source)
        except self._pa.ArrowInvalid:
            self._source.seek(0)
            table = self._pa.ipc.open_file(self._source)
            yield from (table.get_batch(i) for i in range(table.num_record_batches))

    def close(self) -> None:
        """Let go of the mapping."""
        self._source.close()


class DatasetRows:
    """A dataset in memory, or mapped into it."""

    def __init__(self, dataset: Any) -> None:
        # Columns as they are stored: an image stays its bytes instead of being decoded.
        self._dataset: Any = dataset.with_format("arrow")
        self.total: int = len(dataset)
        self.done = 0

    def read(self, first: int = 0) -> Iterator[Row]:
        """See `training.data.rows.row.Rows`."""
        self.done = min(first, self.total)
        while self.done < self.total:
            part = self._dataset[self.done : min(self.done + _ROWS_AT_A_TIME, self.total)]
            for values in part.to_pylist():
                self.done += 1
                yield Row(self.done - 1, values)

    def close(self) -> None:
        """Let go of the mapping."""
        del self._dataset


def is_saved_dataset(path: Path) -> bool:
    """Whether a folder is what `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote."""
    return any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))


def load_saved_dataset(path: Path) -> Any:
    """A `Dataset`, or a `DatasetDict` of its splits."""
    import datasets

    try:
        return datasets.load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be loaded by datasets: {type(error).__name__}") from error


@contextmanager
def _arrow_errors(failure: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{failure}: {type(error).__name__}") from error
