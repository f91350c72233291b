"""Files and directories of preference data: .jsonl, .jsonl.gz, .json and .json.gz."""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import DataError, MalformedRow, UnusableRow
from training.formats.registry import detect_format, format_named
from training.records import PreferenceRecord

_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")


@dataclass(frozen=True, slots=True)
class ReadRecords:
    """What the files held.

    Attributes:
        records: usable records, in file order.
        unusable: (reason, record id) of rows that a format set aside.
        formats: format name of each file, by path.
    """

    records: tuple[PreferenceRecord, ...]
    unusable: tuple[tuple[str, str], ...]
    formats: Mapping[str, str]


def read_records(paths: Sequence[Path], *, format_name: str | None = None) -> ReadRecords:
    """Read preference data; each file's format is told by its first row.

    Args:
        paths: files, or directories whose data files are read in name order.
        format_name: read every file as this format instead of detecting it.

    Raises:
        DataError: a path holds no data, or its rows can't be read; file and line are named.
    """
    records: list[PreferenceRecord] = []
    unusable: list[tuple[str, str]] = []
    formats: dict[str, str] = {}
    for path in _data_files(paths):
        layout = format_named(format_name) if format_name else None
        for where, row in _rows(path):
            try:
                layout = layout or detect_format(row)
                formats[str(path)] = layout.name
                records.append(layout.parse(row, id_=where, source=path.name))
            except UnusableRow as row_is:
                unusable.append((row_is.reason, where))
            except MalformedRow as problem:
                raise MalformedRow(problem.problem, where=where) from None
    if not records and not unusable:
        raise DataError(f"no rows in {', '.join(str(path) for path in paths)}")
    return ReadRecords(tuple(records), tuple(unusable), formats)


def _data_files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.name.endswith(_SUFFIXES))
            if not inside:
                raise DataError(f"{path} holds no {', '.join(_SUFFIXES)} file")
            files.extend(inside)
        elif path.is_file():
            files.append(path)
        else:
            raise DataError(f"{path} does not exist; `--data` takes files and directories")
    return files


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each row with its place, "name:line" (or "name:[index]" in a JSON list)."""
    if not path.name.endswith(_SUFFIXES):
        raise DataError(f"{path} is none of {', '.join(_SUFFIXES)}")
    try:
        text = _text(path)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"{path} can't be read as UTF-8 text: {type(error).__name__}") from error
    if ".jsonl" in path.name:
        # Not splitlines: U+2028 and its kin may stand unescaped inside a JSON string.
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                where = f"{path.name}:{number}"
                yield where, _object(_parsed(line, where), where)
        return
    rows = _parsed(text, path.name)
    if not isinstance(rows, list):
        raise MalformedRow("a .json file must hold a list of rows", where=path.name)
    for index, row in enumerate(rows):
        where = f"{path.name}:[{index}]"
        yield where, _object(row, where)


def _text(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.name.endswith(".gz") else data).decode("utf-8-sig")


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        detail = f" (column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise MalformedRow(f"not valid JSON{detail}", where=where) from None


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise MalformedRow("a row must be a JSON object", where=where)
    return value
