"""CSV and TSV as rows, whatever separates their columns, as long as that is certain."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from training.data.rows.byte_file import ByteFile
from training.data.rows.row import Cells, Row, RowProblem
from training.errors import DataError

COMMA, SEMICOLON, TAB = ",", ";", "\t"
_WORDS = {COMMA: "commas", SEMICOLON: "semicolons", TAB: "tabs"}

_LONGEST_CELL = 2**27  # characters; the csv module's own limit of 131072 is a long response
_HEAD = 2**18  # characters that are looked at to tell what separates the columns
_DECLARED = re.compile(r'"?sep=(.)"?(?:\r\n|\n|\r)')  # Excel's first line, "sep=;"


class CsvRows(ByteFile):
    """A table as text with a header; every value is a text, and empty cells are left out.

    Cells are quoted as RFC 4180 has it, in tab-separated files too, as Excel and pandas write them.

    Args:
        path: of the file.
        separators: what may separate the columns. Where more than one fits the beginning of the
            file, it is refused rather than guessed.
    """

    def __init__(self, path: Path, *, separators: Sequence[str] = (COMMA, SEMICOLON, TAB)) -> None:
        super().__init__(path)
        self._separators = separators

    def read(self, first: int = 0) -> Iterator[Row]:
        """See `training.data.rows.row.Rows`; a broken line is a row with a problem."""
        with self.reading():
            text = io.TextIOWrapper(self.file, encoding="utf-8-sig", newline="")
            try:
                yield from islice(self._rows(text), first, None)
            finally:
                text.detach()  # else its end would close the file

    def _rows(self, text: io.TextIOBase) -> Iterator[Row]:
        csv.field_size_limit(_LONGEST_CELL)
        head = text.read(_HEAD)
        is_whole = len(head) < _HEAD
        declared = _DECLARED.match(head)
        begin = declared.end() if declared else 0
        separator = declared[1] if declared else self._separator(head, is_whole=is_whole)
        beginning = io.StringIO(head[begin:] + text.readline(), newline="")
        return self._parsed(chain(beginning, text), separator, 1 if declared else 0)

    def _parsed(self, lines: Iterable[str], separator: str, before: int) -> Iterator[Row]:
        """The rows under the header.

        Args:
            lines: of the file.
            separator: of columns.
            before: lines that were taken off the beginning.
        """
        reader = csv.reader(lines, delimiter=separator, strict=True)
        header: list[str] | None = None
        while True:
            line = before + reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if header is None:
                    raise DataError(f"{self.name} can't be read as CSV: {error}") from error
                yield Row(line, {}, RowProblem("not_csv", detail=str(error)), is_line=True)
                continue
            if header is None:
                header = checked_header(cells, self.name)
            elif cells and len(cells) != len(header):
                counts = f"{len(cells)} cells under {len(header)} column names"
                yield Row(line, {}, RowProblem("cell_count", detail=counts), is_line=True)
            elif cells:
                named = [(name, cell) for name, cell in zip(header, cells, strict=True) if name]
                values = {name: cell for name, cell in named if cell}
                empty = [name for name, cell in named if not cell]
                yield Row(line, Cells(values, empty), is_line=True)

    def _separator(self, head: str, *, is_whole: bool) -> str:
        """What separates the columns, by the file's beginning."""
        found = {each: _cell_counts(head, each, is_whole=is_whole) for each in _WORDS}
        parting = [each for each, counts in found.items() if counts and counts[0] > 1]
        possible = [each for each in parting if each in self._separators]
        if parting and not possible:
            raise DataError(
                f"{self.name}: its columns are separated by {_WORDS[parting[0]]}, not by "
                f"{_WORDS[self._separators[0]]}; name it .csv"
            )
        if len(possible) > 1:
            # Under a wrong one, rows fall into as many cells as the header only by chance.
            possible = [each for each in possible if len(set(found[each])) == 1]
            if len(possible) != 1:
                words = " or ".join(_WORDS[each] for each in parting)
                raise DataError(
                    f"{self.name}: its columns may be separated by {words}; say which in a first "
                    "line of its own, such as sep=;"
                )
        return possible[0] if possible else self._separators[0]


def checked_header(names: Sequence[str], place: str) -> list[str]:
    """Column names, each of which stands once; columns without a name may be several.

    Raises:
        DataError: a name stands twice, so that one column would hide the other.
    """
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DataError(f"{place} has two columns `{twice[0]}`; rename one")
    return list(names)


def _cell_counts(head: str, separator: str, *, is_whole: bool) -> list[int]:
    """How many cells each record at a file's beginning has; a broken one, 0."""
    reader = csv.reader(io.StringIO(head, newline=""), delimiter=separator, strict=True)
    counts: list[int] = []
    try:
        counts.extend(len(cells) for cells in reader if cells)
    except csv.Error as error:
        if is_whole or "unexpected end" not in str(error):
            return [*counts, 0]
        return counts  # a quoted cell goes on where the beginning ends
    return counts if is_whole else counts[:-1]
