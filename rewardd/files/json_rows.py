"""JSON Lines and JSON arrays, gzipped or not, row by row."""

import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

from rewardd.files.rows import BadRow, BatchFailed, Row

MAX_ROW_BYTES = 64 * 1024 * 1024
"""The longest row that is read; eight times what a server takes unless it is told otherwise."""

_CHUNK = 64 * 1024
_SPACE = " \t\r\n"
_UNREADABLE = (OSError, EOFError, zlib.error)  # what a broken gzip file gives, and the disk


class JsonFile:
    """A file and how far it was read, in bytes as they lie on the disk.

    Args:
        path: of the file, gzip where its name ends so; None: standard input.
    """

    def __init__(self, path: Path | None) -> None:
        self.name = "standard input" if path is None else str(path)
        self._own = path is not None
        self._raw: BinaryIO = sys.stdin.buffer if path is None else path.open("rb")
        self.total = None if path is None else path.stat().st_size
        self._gzip = path is not None and path.suffix.lower() == ".gz"
        self.file = (
            cast("BinaryIO", gzip.GzipFile(fileobj=self._raw, mode="rb"))
            if self._gzip
            else self._raw
        )

    @property
    def done(self) -> int:
        """Bytes that were read off the disk."""
        return self._raw.tell() if self._own and not self._raw.closed else 0

    def close(self) -> None:
        """Close the file, unless it is standard input."""
        if self._own:
            self._raw.close()

    def unreadable(self, error: Exception) -> BatchFailed:
        """What a person is told if reading failed."""
        what = "the gzip data is broken or cut off" if self._gzip else "it can't be read"
        return BatchFailed(
            f"{self.name}: {what} ({type(error).__name__}); what was scored so far stands, and the "
            "same command goes on from there once the file is whole"
        )


class JsonLinesRows(JsonFile):
    """One JSON object a line; blank lines don't count."""

    def read(self, first: int) -> Iterator[Row]:
        """See `rewardd.files.rows.Rows`; a line that is no object is a row with a problem."""
        try:
            yield from self._read(first)
        except _UNREADABLE as error:
            raise self.unreadable(error) from error

    def _read(self, first: int) -> Iterator[Row]:
        number = 0
        for line_number, line in enumerate(_lines(self.file), start=1):
            if line is not None and not line.strip():
                continue
            if number >= first:
                yield _row(line, line_number)
            number += 1


class JsonArrayRows(JsonFile):
    """One JSON array of objects, of which only one element is held at a time."""

    def read(self, first: int) -> Iterator[Row]:
        """See `rewardd.files.rows.Rows`; an element that is no object is a row with a problem."""
        text = io.TextIOWrapper(self.file, encoding="utf-8-sig")
        try:
            for number, value in enumerate(_elements(text, self.name)):
                if number >= first:
                    yield _object(value, f"element {number + 1}")
        except UnicodeDecodeError as error:
            raise BatchFailed(f"{self.name}: it is not UTF-8 (byte {error.start})") from None
        except _UNREADABLE as error:
            raise self.unreadable(error) from error
        finally:
            text.detach()  # else its end would close the file


def holds_array(path: Path) -> bool:
    """Whether a .json file holds an array; many hold JSON Lines.

    Raises:
        BatchFailed: it can't be read.
    """
    source = JsonFile(path)
    try:
        head = source.file.read(_CHUNK)
    except _UNREADABLE as error:
        raise source.unreadable(error) from error
    finally:
        source.close()
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Lines without holding more than `MAX_ROW_BYTES`; None stands for one that is longer."""
    while line := file.readline(MAX_ROW_BYTES + 1):
        if len(line) <= MAX_ROW_BYTES:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(_CHUNK)
        yield None


def _row(line: bytes | None, number: int) -> Row:
    if line is None:
        detail = f"line {number} of the input is longer than {MAX_ROW_BYTES} bytes"
        return Row({}, BadRow("line_too_long", detail))
    try:
        # A byte order mark is allowed where editors put it.
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        value = _DECODER.decode(text)
    except UnicodeDecodeError as error:
        detail = f"line {number} of the input is not UTF-8 (byte {error.start})"
        return Row({}, BadRow("invalid_json", detail))
    except json.JSONDecodeError as error:
        detail = f"line {number} of the input is not JSON: {error.msg} (column {error.colno})"
        return Row({}, BadRow("invalid_json", detail))
    except (ValueError, RecursionError):
        detail = f"line {number} of the input is not strict JSON: NaN, Infinity, or nested too deep"
        return Row({}, BadRow("invalid_json", detail))
    return _object(value, f"line {number}")


def _object(value: object, place: str) -> Row:
    if isinstance(value, dict):
        return Row(value)
    return Row({}, BadRow("invalid_row", f"{place} of the input is not a JSON object"))


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


class _Window:
    """The part of a text that is being parsed; what was consumed is given up."""

    def __init__(self, text: io.TextIOBase, name: str) -> None:
        self._text = text
        self._name = name
        self.held = ""
        self.at_end = False

    def more(self) -> None:
        """Read as much again as is held, so that a long element is tried only a few times."""
        if len(self.held) > MAX_ROW_BYTES:
            raise BatchFailed(f"{self._name}: an element is longer than {MAX_ROW_BYTES} characters")
        chunk = self._text.read(max(_CHUNK, len(self.held)))
        self.at_end = not chunk
        self.held += chunk

    def next_character(self) -> str:
        """The first that is not white space, left in place; "" at the end."""
        while True:
            self.held = self.held.lstrip(_SPACE)
            if self.held or self.at_end:
                return self.held[:1]
            self.more()

    def element(self, number: int) -> Any:
        """The value that begins here, and consume it."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self.held)
            except (ValueError, RecursionError) as error:
                if self.at_end:
                    raise BatchFailed(
                        f"{self._name}: element {number} is not JSON, or the file ends within it"
                    ) from error
            else:
                # A number may go on in the next chunk: 1 as 1e-5, cut off before the 5.
                if end + len("e-5") <= len(self.held) or self.at_end:
                    self.held = self.held[end:]
                    return value
            self.more()


def _elements(text: io.TextIOBase, name: str) -> Iterator[Any]:
    window = _Window(text, name)
    window.next_character()
    window.held = window.held[1:]  # the bracket, which `holds_array` has seen
    number = 1
    while (character := window.next_character()) != "]":
        if number > 1:
            if character != ",":
                raise BatchFailed(f"{name}: no comma or closing bracket after element {number - 1}")
            window.held = window.held[1:]
            window.next_character()
        yield window.element(number)
        number += 1
