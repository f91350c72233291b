import gzip
import json
from pathlib import Path

import pytest

from training.errors import DataError, MalformedRow
from training.formats import read_records

ROW = {"prompt": "p", "chosen": "good", "rejected": "bad"}
OTHER = {"prompt": "q", "responses": ["a", "b"], "ranking": [0, 1]}


def test_a_directory_of_plain_packed_and_list_files_is_read_in_name_order(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(ROW) + "\n\n" + json.dumps(ROW))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(json.dumps(OTHER).encode()))
    (tmp_path / "c.json").write_text(json.dumps([ROW, ROW]))
    (tmp_path / "notes.txt").write_text("not data")
    read = read_records([tmp_path])
    assert [record.id for record in read.records] == [
        "a.jsonl:1",
        "a.jsonl:3",
        "b.jsonl.gz:1",
        "c.json:[0]",
        "c.json:[1]",
    ]
    assert list(read.formats.values()) == ["trl-explicit", "canonical", "trl-explicit"]


def test_line_separators_inside_strings_do_not_end_a_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({**ROW, "prompt": "a\u2028b\u0085c"}, ensure_ascii=False))
    assert read_records([path]).records[0].prompt == "a\u2028b\u0085c"


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (json.dumps(ROW) + "\n{broken secret", "a.jsonl:2"),
        (json.dumps(ROW) + "\n[1, 2]", "a.jsonl:2"),
        (json.dumps(ROW) + '\n{"prompt": 1}', "a.jsonl:2"),
        ("[" * 100_000, "a.jsonl:1"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line_without_its_text(
    tmp_path: Path, content: str, place: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(MalformedRow) as refusal:
        read_records([path])
    assert str(refusal.value).startswith(place)
    assert "secret" not in str(refusal.value)


def test_files_that_cannot_be_data_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "a.csv").write_text("x")
    (tmp_path / "torn.jsonl.gz").write_bytes(gzip.compress(b"{}")[:-6])
    (tmp_path / "latin.jsonl").write_bytes(b"\xe9")
    for name in ("empty.jsonl", "a.csv", "torn.jsonl.gz", "latin.jsonl", "absent.jsonl"):
        with pytest.raises(DataError):
            read_records([tmp_path / name])


def test_a_format_can_be_given_instead_of_detected(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"chosen": "x y", "rejected": "x z"}))
    assert read_records([path], format_name="trl-implicit").records
    with pytest.raises(DataError, match="canonical"):
        read_records([path], format_name="unheard-of")
