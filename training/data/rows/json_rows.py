"""JSON Lines, JSON arrays and objects that wrap one, gzipped or not, row by row."""

import io
import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from training.data.rows.byte_file import ByteFile
from training.data.rows.row import Row, RowProblem
from training.errors import DataError

MAX_ROW_BYTES = 64 * 1024 * 1024
"""The longest row that is read; eight times what a server takes unless it is told otherwise."""

WRAPPER = "data"
"""Under which key an object holds the rows, where a file is not a list of them."""

_CHUNK = 64 * 1024
_SPACE = " \t\r\n"


class JsonLinesRows(ByteFile):
    """One JSON object a line; blank lines don't count.

    Args:
        path: of the file; None: standard input.
        allows_nan: take NaN and Infinity for numbers.
    """

    def __init__(self, path: Path | None, *, allows_nan: bool = False) -> None:
        super().__init__(path)
        self._decoder = _decoder(allows_nan=allows_nan)

    def read(self, first: int = 0) -> Iterator[Row]:
        """See `training.data.rows.row.Rows`; a line that is no object is a row with a problem."""
        number = 0
        with self.reading():
            for line_number, line in enumerate(_lines(self.file), start=1):
                # A byte order mark is allowed where editors put it.
                text = line.removeprefix(BOM_UTF8) if line and line_number == 1 else line
                if text is not None and not text.strip():
                    continue
                if number >= first:
                    yield self._row(text, line_number)
                number += 1

    def _row(self, line: bytes | None, number: int) -> Row:
        if line is None:
            return Row(number, {}, RowProblem("too_long"), is_line=True)
        try:
            return _object(self._decoder.decode(line.decode()), number, is_line=True)
        except UnicodeDecodeError as error:
            problem = RowProblem("not_utf8", error.start)
        except json.JSONDecodeError as error:
            problem = RowProblem("not_json", error.colno, error.msg)
        except (ValueError, RecursionError):  # ValueError: also a number of thousands of digits
            problem = RowProblem("not_strict_json")
        return Row(number, {}, problem, is_line=True)


class JsonArrayRows(ByteFile):
    """One JSON array of objects, also as {"data": [...]}; only one element is held at a time."""

    def __init__(self, path: Path, *, allows_nan: bool = False) -> None:
        super().__init__(path)
        self._decoder = _decoder(allows_nan=allows_nan)

    def read(self, first: int = 0) -> Iterator[Row]:
        """See `training.data.rows.row.Rows`; an element that is no object has a problem."""
        with self.reading():
            text = io.TextIOWrapper(self.file, encoding="utf-8-sig")
            try:
                window = _Window(text, self.name, self._decoder)
                for number, value in enumerate(_elements(window)):
                    if number >= first:
                        yield _object(value, number)
            finally:
                text.detach()  # else its end would close the file


def holds_lines(path: Path) -> bool:
    """Whether a .json file holds JSON Lines, as many do: its first line is a row."""
    source = ByteFile(path)
    try:
        with source.reading():
            while (line := source.file.readline(MAX_ROW_BYTES)) and not line.strip():
                pass
    finally:
        source.close()
    try:
        row = json.loads(line.removeprefix(BOM_UTF8))
    except (ValueError, RecursionError):
        return False
    return isinstance(row, dict) and not isinstance(row.get(WRAPPER), list)


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Lines without holding more than `MAX_ROW_BYTES`; None stands for one that is longer."""
    # By bytes, so that a line in another encoding is that line's defect; and not by splitlines, as
    # U+2028 and its kin may stand unescaped inside a JSON string.
    while line := file.readline(MAX_ROW_BYTES + 1):
        if len(line) <= MAX_ROW_BYTES:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(_CHUNK)
        yield None


def _object(value: object, number: int, *, is_line: bool = False) -> Row:
    if isinstance(value, dict):
        return Row(number, value, is_line=is_line)
    return Row(number, {}, RowProblem("not_an_object"), is_line)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _decoder(*, allows_nan: bool) -> json.JSONDecoder:
    return json.JSONDecoder(parse_constant=None if allows_nan else _refuse)


class _Window:
    """The part of a text that is being parsed; what was consumed is given up."""

    def __init__(self, text: io.TextIOBase, name: str, decoder: json.JSONDecoder) -> None:
        self._text = text
        self._decoder = decoder
        self.name = name
        self.held = ""
        self.at_end = False

    def more(self) -> None:
        """Read as much again as is held, so that a long element is tried only a few times."""
        if len(self.held) > MAX_ROW_BYTES:
            raise DataError(f"{self.name}: an element is longer than {MAX_ROW_BYTES} characters")
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

    def take(self, character: str, otherwise: str = "") -> None:
        """Consume the next character, which must be this one."""
        if self.next_character() != character:
            raise DataError(otherwise or f"{self.name} is not JSON: a {character!r} is missing")
        self.held = self.held[1:]

    def element(self, number: int) -> Any:
        """The value that begins here, and consume it."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self.held)
            except (ValueError, RecursionError) as error:
                if self.at_end:
                    raise DataError(
                        f"{self.name}: element {number} is not JSON, or the file ends within it"
                    ) from error
            else:
                # A number may go on in the next chunk: 1 as 1e-5, cut off before the 5.
                if end + len("e-5") <= len(self.held) or self.at_end:
                    self.held = self.held[end:]
                    return value
            self.more()


def _elements(window: _Window) -> Iterator[Any]:
    """The rows of the file's one array."""
    character = window.next_character()
    if character == "[":
        yield from _array(window)
    elif character == "{":
        yield from _wrapped(window)
    else:
        raise DataError(f"{window.name}: a .json file must hold a list of rows")
    if window.next_character():
        raise DataError(f"{window.name}: more follows the list of rows, after its last element")


def _array(window: _Window) -> Iterator[Any]:
    """The elements of the array that begins here."""
    window.take("[")
    number = 1
    while window.next_character() != "]":
        if number > 1:
            window.take(
                ",", f"{window.name}: no comma or closing bracket after element {number - 1}"
            )
            window.next_character()
        yield window.element(number)
        number += 1
    window.take("]")


def _wrapped(window: _Window) -> Iterator[Any]:
    """The elements of the array under `WRAPPER` in the object that begins here."""
    window.take("{")
    keys: list[str] = []
    while window.next_character() != "}":
        if keys:
            window.take(",")
            window.next_character()
        key = window.element(len(keys) + 1)
        window.next_character()
        window.take(":")
        keys.append(str(key))
        if key == WRAPPER and keys.count(key) == 1 and window.next_character() == "[":
            yield from _array(window)
        else:
            window.next_character()
            _refuse_second_list(window.element(len(keys)), str(key), window.name)
    window.take("}")
    if WRAPPER not in keys:
        raise DataError(
            f"{window.name}: a .json file must hold a list of rows, alone or as "
            f'{{"{WRAPPER}": [...]}}; this object has {", ".join(keys[:12]) or "no key"}'
        )


def _refuse_second_list(value: Any, key: str, name: str) -> None:
    """What stands beside the rows may say what it likes, but hold no rows."""
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        raise DataError(
            f"{name}: `{key}` is a list of objects too, or instead of `{WRAPPER}`; leave the list "
            "that is meant alone in a file"
        )
