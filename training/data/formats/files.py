"""The rows of one data file, each with its place: JSON, JSON Lines, CSV, Parquet, Arrow.

A row that is broken in itself comes as the `MalformedRow` that names it, and the rest of the file
follows. What no row can be read from is a `DataError`.
"""

import csv
import gzip
import io
import json
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import DataError, MalformedRow

_LONGEST_CELL = 2**27  # characters; the csv module's own limit of 131072 is a long response


@dataclass(frozen=True, slots=True)
class Row:
    """One row, or what is wrong with it.

    Attributes:
        where: "name:line", or "name:[index]" where there are no lines.
        value: the row's object; None where `problem` says why there is none.
        problem: what is wrong, without the row's text.
    """

    where: str
    value: Mapping[str, Any] | None
    problem: str = ""


def rows_of_file(path: Path, label: str) -> Iterator[Row]:
    """Each row of a file.

    Args:
        path: of one of the `SUFFIXES`.
        label: what the file is called in places.

    Raises:
        DataError: the file can't be read at all.
    """
    reader = next((READERS[suffix] for suffix in READERS if path.name.endswith(suffix)), None)
    if reader is None:
        raise DataError(f"{path} is none of {', '.join(SUFFIXES)}")
    return reader(path, label)


def rows_of_table(rows: Iterable[Mapping[str, Any]], label: str) -> Iterator[Row]:
    """Rows of a table, where a column that a row lacks holds None."""
    for index, row in enumerate(rows):
        present = {key: value for key, value in row.items() if value is not None}
        yield Row(f"{label}:[{index}]", present)


def _json_lines(path: Path, label: str) -> Iterator[Row]:
    # By bytes, so that a line in another encoding is that line's defect; and not by splitlines, as
    # U+2028 and its kin may stand unescaped inside a JSON string.
    for number, line in enumerate(_bytes(path).removeprefix(BOM_UTF8).split(b"\n"), start=1):
        if line.strip():
            yield _parsed_row(line, f"{label}:{number}")


def _json_list(path: Path, label: str) -> Iterator[Row]:
    try:
        rows = _parsed(_text(path))
    except MalformedRow as problem:
        raise MalformedRow(problem.problem, where=label) from None
    if not isinstance(rows, list):
        raise MalformedRow("a .json file must hold a list of rows", where=label)
    for index, row in enumerate(rows):
        yield _object_row(row, f"{label}:[{index}]")


def _csv(path: Path, label: str) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if header is None:
                raise DataError(f"{path} can't be read as CSV: {error}") from error
            yield Row(f"{label}:{line}", None, f"not valid CSV ({error})")
            continue
        if header is None:
            header = cells
        elif cells and len(cells) != len(header):
            problem = f"{len(cells)} cells under {len(header)} column names"
            yield Row(f"{label}:{line}", None, problem)
        elif cells:
            named = zip(header, cells, strict=True)
            yield Row(f"{label}:{line}", {k: _cell(k, text) for k, text in named if text})


def _parquet(path: Path, label: str) -> Iterator[Row]:
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as table:
            batches = (batch.to_pylist() for batch in table.iter_batches())
            yield from rows_of_table((row for batch in batches for row in batch), label)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} can't be read as Parquet: {type(error).__name__}") from error


def _arrow(path: Path, label: str) -> Iterator[Row]:
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            batches = (batch.to_pylist() for batch in _record_batches(pa, source))
            yield from rows_of_table((row for batch in batches for row in batch), label)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} can't be read as Arrow: {type(error).__name__}") from error


def _record_batches(pa: Any, source: Any) -> Iterator[Any]:
    """Batches of an Arrow stream (what `datasets` writes) or of an Arrow file (Feather)."""
    try:
        yield from pa.ipc.open_stream(source)
    except pa.ArrowInvalid:
        source.seek(0)
        table = pa.ipc.open_file(source)
        yield from (table.get_batch(i) for i in range(table.num_record_batches))


Reader = Callable[[Path, str], Iterator[Row]]
READERS: Mapping[str, Reader] = {
    ".jsonl": _json_lines,
    ".jsonl.gz": _json_lines,
    ".json": _json_list,
    ".json.gz": _json_list,
    ".csv": _csv,
    ".csv.gz": _csv,
    ".parquet": _parquet,
    ".arrow": _arrow,
}
SUFFIXES: tuple[str, ...] = tuple(READERS)
"""What the name of a data file ends with."""


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.name.endswith(".gz") else data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} can't be read: {type(error).__name__}") from error


def _text(path: Path) -> str:
    data = _bytes(path).removeprefix(BOM_UTF8)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line} is not UTF-8 text; save the file as UTF-8") from error


def _parsed_row(line: bytes, where: str) -> Row:
    try:
        return _object_row(_parsed(line.decode()), where)
    except UnicodeDecodeError:
        return Row(where, None, "not UTF-8 text")
    except MalformedRow as problem:
        return Row(where, None, problem.problem)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: a number of thousands of digits
        detail = f" (column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise MalformedRow(f"not valid JSON{detail}") from None


def _object_row(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        return Row(where, None, "a row must be a JSON object")
    return Row(where, value)


_JSON_COLUMNS = {
    *("answers", "best", "better_response_id", "choice", "completions", "context", "extra"),
    *("helpfulness", "correctness", "coherence", "complexity", "verbosity", "history", "info"),
    *("is_response_0_safe", "is_response_1_safe", "is_safe", "is_safety", "kto_tag", "label"),
    *("labels", "margin", "overall_preference", "preference", "preference_strength", "ranking"),
    *("ranks", "rating", "ratings", "responses", "safer_response_id", "score_chosen"),
    *("score_rejected", "scores", "step_labels", "steps", "summaries", "tags", "token_ids"),
    *("winner_model_a", "winner_model_b", "winner_tie"),
}
"""Columns that formats read as something else than text, so that CSV holds them as JSON."""


def _cell(column: str, text: str) -> Any:
    """A cell's value: CSV knows texts alone.

    A response may look like a number or a list too, so only the columns that some format reads as
    numbers or lists are JSON; elsewhere a text is one unless it is a message or a list of them.
    """
    is_json = column in _JSON_COLUMNS or column.endswith(("_ids", "_mask"))
    if not is_json and text[0] not in "[{":
        return text
    try:
        value = json.loads({"True": "true", "False": "false"}.get(text, text))
    except (ValueError, RecursionError):
        return text
    turns = value if isinstance(value, list) else [value]
    return value if is_json or (turns and all(_is_message(turn) for turn in turns)) else text


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and not value.keys().isdisjoint({"content", "value"})
