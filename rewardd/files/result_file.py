"""The output of a run: JSON Lines that an interrupted run can go on with.

One line per row of the input, in its order, so that the number of whole lines says where to go on.
Beside it lies a record of how they were made: lines by another model or with other options are
never mixed into one file.
"""

import base64
import datetime as dt
import fcntl
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from rewardd.files.rows import BatchFailed

_CHUNK = 1024 * 1024


class Sink(Protocol):
    """Where result lines go."""

    @property
    def num_there(self) -> int:
        """Lines of an earlier run that stand."""
        ...

    @property
    def last_there(self) -> bytes:
        """The last of them; empty if there is none."""
        ...

    def write(self, line: bytes) -> None:
        """Append a line, which ends with its line break."""
        ...

    def close(self) -> None:
        """Nothing more comes."""
        ...


class StdoutSink:
    """Standard output, where nothing can be resumed."""

    num_there = 0
    last_there = b""

    def write(self, line: bytes) -> None:
        """See `Sink`."""
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()

    def close(self) -> None:
        """See `Sink`."""


def record_path(output: Path) -> Path:
    """Where the record of a run lies."""
    return output.with_name(f"{output.name}.run.json")


class ResultFile:
    """An output file, mended where an earlier run was killed within a line.

    Args:
        path: of the file.
        record: how its lines are made, JSON values; an earlier run must have had the same.
        overwrite: begin anew whatever is there.

    Raises:
        BatchFailed: what is there was made otherwise, or another run is writing it.
    """

    def __init__(self, path: Path, record: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self._file: BinaryIO = _locked(path)
        try:
            if overwrite:
                self._file.truncate(0)
            found = _whole_lines(self._file)
            self.num_there, self.last_there = found.count, found.last
            if self._file.seek(0, 2) > 0:
                _require_same(path, record)
            else:
                _write_record(path, record)
            self._file.truncate(found.end)
            self._file.seek(found.end)
        except BaseException:
            self._file.close()
            raise

    def write(self, line: bytes) -> None:
        """See `Sink`; what was written survives our own death."""
        self._file.write(line)
        self._file.flush()

    def close(self) -> None:
        """See `Sink`."""
        self._file.close()


@dataclass(frozen=True, slots=True)
class _Found:
    """The whole lines of a file: how many, where they end, and the last of them."""

    count: int
    end: int
    last: bytes


def encode_row(values: Mapping[str, Any]) -> bytes:
    """A line of strict JSON with its line break.

    What JSON has no form for becomes text: dates ISO 8601, bytes base64, other values as they
    print themselves; NaN and infinities become null.
    """
    try:
        text = json.dumps(values, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        text = json.dumps(_finite(values), ensure_ascii=False, allow_nan=False, default=_plain)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # a lone surrogate, which only an escape can carry
        return json.dumps(json.loads(text)).encode() + b"\n"


def _plain(value: object) -> object:
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(own) for own in value]
    return value


def _locked(path: Path) -> BinaryIO:
    try:
        file = path.open("r+b") if path.exists() else path.open("x+b")
    except OSError as error:
        raise BatchFailed(f"{path} can't be written: {error.strerror}") from error
    try:
        # Two runs at once would weave their lines into one another.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise BatchFailed(f"{path} is being written by another run") from None
    except OSError:
        pass  # a file system without locks
    return file


def _whole_lines(file: BinaryIO) -> _Found:
    count = end = start_of_last = 0
    position = file.seek(0)
    while chunk := file.read(_CHUNK):
        found = chunk.count(b"\n")
        if found:
            last = chunk.rfind(b"\n")
            before = chunk.rfind(b"\n", 0, last)
            start_of_last = end if before < 0 else position + before + 1
            end = position + last + 1
        count += found
        position += len(chunk)
    file.seek(start_of_last)
    return _Found(count, end, file.read(end - start_of_last))


def _require_same(path: Path, record: Mapping[str, Any]) -> None:
    begin_anew = "choose another output, or begin anew with --overwrite"
    try:
        there = json.loads(record_path(path).read_bytes())
    except (OSError, ValueError):
        raise BatchFailed(
            f"{path} exists, and no {record_path(path).name} says how it was made; {begin_anew}"
        ) from None
    now = json.loads(json.dumps(record))
    if there != now:
        known = there if isinstance(there, dict) else {}
        other = ", ".join(sorted(key for key in {*now, *known} if known.get(key) != now.get(key)))
        raise BatchFailed(f"{path} was made otherwise (other {other}); {begin_anew}")


def _write_record(path: Path, record: Mapping[str, Any]) -> None:
    place = record_path(path)
    draft = place.with_name(f"{place.name}.tmp")
    draft.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    draft.replace(place)
