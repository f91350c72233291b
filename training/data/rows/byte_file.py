"""A file of bytes, gzipped or not, and how far it was read."""

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from training.errors import DataError

if TYPE_CHECKING:
    from io import BufferedReader


# What other files begin with, and the name under which they would be read.
_OTHER_KINDS = {
    b"PK\x03\x04": "a workbook or another zip archive: name a workbook .xlsx, unpack an archive",
    b"\xd0\xcf\x11\xe0": "a workbook of old Excel (.xls): save it as .xlsx or CSV",
    b"\x1f\x8b": "gzip data: let its name end in .gz",
    b"PAR1": "a Parquet file: let its name end in .parquet",
}


class ByteFile:
    """A file and how far it was read, in bytes as they lie on the disk.

    Args:
        path: of the file, gzip where its name ends so; None: standard input.

    Raises:
        DataError: it can't be opened.
    """

    def __init__(self, path: Path | None) -> None:
        self.name = "standard input" if path is None else str(path)
        self._path = path
        self._gzip = path is not None and path.suffix.lower() == ".gz"
        with self.reading():
            self._raw: BinaryIO = sys.stdin.buffer if path is None else path.open("rb")
            self.total = None if path is None else path.stat().st_size
        if path is not None and not self._gzip:
            self._refuse_other_kinds()
        self.file = (
            cast("BinaryIO", gzip.GzipFile(fileobj=self._raw, mode="rb"))
            if self._gzip
            else self._raw
        )

    def _refuse_other_kinds(self) -> None:
        """Name a file that is no text by what it is: "not UTF-8" would send people to an editor."""
        with self.reading():
            beginning = cast("BufferedReader", self._raw).peek(4)
        for signature, what in _OTHER_KINDS.items():
            if beginning.startswith(signature):
                self.close()
                raise DataError(f"{self.name} is {what}")

    @property
    def done(self) -> int:
        """Bytes that were read off the disk."""
        return self._raw.tell() if self._path and not self._raw.closed else 0

    def close(self) -> None:
        """Close the file, unless it is standard input."""
        if self._path:
            self._raw.close()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Raise what a broken file, or one in another encoding, gives as a `DataError`."""
        try:
            yield
        except UnicodeDecodeError as error:
            place = f"{self.name}:{_first_line_not_utf8(self._path)}" if self._path else self.name
            raise DataError(f"{place} is not UTF-8 text; save the file as UTF-8") from error
        except (OSError, EOFError, zlib.error) as error:
            what = "the gzip data is broken or cut off" if self._gzip else "it can't be read"
            raise DataError(f"{self.name}: {what} ({type(error).__name__})") from error


def _first_line_not_utf8(path: Path) -> int:
    """Number of the first line that is no UTF-8: a decoder tells only a place in its buffer."""
    source = ByteFile(path)
    try:
        for number, line in enumerate(source.file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    finally:
        source.close()
    raise AssertionError("the file was changed while it was read")
