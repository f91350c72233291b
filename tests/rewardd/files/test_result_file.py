import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from rewardd.files import result_file
from rewardd.files.result_file import ResultFile, encode_row, record_path
from rewardd.files.rows import BatchFailed

RECORD = {"command": "score", "models": {"safety": "abc"}, "columns": ("prompt",)}


def write(path: Path, *lines: bytes, record: Any = None, overwrite: bool = False) -> ResultFile:
    file = ResultFile(path, RECORD if record is None else record, overwrite=overwrite)
    for line in lines:
        file.write(line)
    file.close()
    return file


@pytest.mark.parametrize("chunk", [1, 3, 2**20])
@pytest.mark.parametrize("half", [b"", b"{", b'{"a": 1}', b"\0\0\0"])
def test_half_a_line_is_mended_and_the_whole_ones_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: bytes, chunk: int
) -> None:
    monkeypatch.setattr(result_file, "_CHUNK", chunk)
    path = tmp_path / "out.jsonl"
    write(path, b"one\n", b"two\n", b"three\n")
    with path.open("ab") as file:
        file.write(half)

    again = write(path, b"four\n")

    assert (again.num_there, again.last_there) == (3, b"three\n")
    assert path.read_bytes() == b"one\ntwo\nthree\nfour\n"


def test_a_file_that_is_only_half_a_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    write(path)
    path.write_bytes(b"hal")

    again = write(path, b"whole\n")

    assert again.num_there == 0
    assert path.read_bytes() == b"whole\n"


def test_lines_made_otherwise_are_refused_and_what_differs_is_told(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    write(path, b"one\n")

    with pytest.raises(BatchFailed, match=r"other models\).*--overwrite"):
        write(path, record={**RECORD, "models": {"safety": "xyz"}})
    assert path.read_bytes() == b"one\n"


def test_somebody_elses_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_bytes(b"my notes, without a line break")

    with pytest.raises(BatchFailed, match="how it was made"):
        write(path)
    assert path.read_bytes() == b"my notes, without a line break"


def test_overwrite_begins_anew_and_keeps_the_new_record(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    write(path, b"one\n", b"two\n")

    file = write(path, b"new\n", record={"command": "compare"}, overwrite=True)

    assert file.num_there == 0
    assert path.read_bytes() == b"new\n"
    assert json.loads(record_path(path).read_bytes()) == {"command": "compare"}


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    first = ResultFile(path, RECORD)

    with pytest.raises(BatchFailed, match="another run"):
        ResultFile(path, RECORD)
    first.close()
    write(path, b"now\n")


def test_a_directory_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(BatchFailed, match="can't be written"):
        write(tmp_path / "nowhere" / "out.jsonl")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("ä–σ", "ä–σ"),
        ("\ud800", "\ud800"),
        (float("nan"), None),
        ([1.5, float("inf")], [1.5, None]),
        (2**70, 2**70),
        (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), "2026-01-02T00:00:00+00:00"),
        (b"\0\1", "AAE="),
    ],
)
def test_a_row_is_strict_json_whatever_a_table_holds(value: object, written: object) -> None:
    line = encode_row({"value": value})

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line, parse_constant=pytest.fail) == {"value": written}
