import gzip
import json
from pathlib import Path

import pytest

from training.data.formats import read_records
from training.errors import DataError, MalformedRow

ROW = {"prompt": "p", "chosen": "good", "rejected": "bad"}
OTHER = {"prompt": "q", "responses": ["a", "b"], "ranking": [0, 1]}
GOOD = json.dumps(ROW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.jsonl"


def test_a_directory_of_plain_packed_and_list_files_is_read_in_name_order(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(GOOD + "\n\n" + GOOD)
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


def test_line_separators_inside_strings_do_not_end_a_row(path: Path) -> None:
    path.write_text(json.dumps({**ROW, "prompt": "a\u2028b\u0085c"}, ensure_ascii=False))
    assert read_records([path]).records[0].prompt == "a\u2028b\u0085c"


BAD_LINES = ["{broken secret", "[1, 2]", '{"prompt": 1}', "[" * 100_000, '"secret"']


@pytest.mark.parametrize("bad", BAD_LINES, ids=range(len(BAD_LINES)))
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_bad_row_is_named_by_file_and_line_without_its_text_and_stops_nothing(
    path: Path, bad: str, position: int
) -> None:
    lines = [GOOD, GOOD]
    lines.insert(position, bad)
    path.write_text("\n".join(lines))

    read = read_records([path])

    assert [row.where for row in read.malformed] == [f"a.jsonl:{position + 1}"]
    assert "secret" not in read.malformed[0].problem
    assert len(read.records) == 2
    assert read.num_rows == 3


def test_a_line_in_another_encoding_is_a_bad_row_and_no_bad_file(path: Path) -> None:
    rows = [{**ROW, "prompt": prompt} for prompt in ("\u4e24", "caf\xe9", "third")]
    encodings = ("utf-8-sig", "latin-1", "utf-8")
    lines = [
        json.dumps(row, ensure_ascii=False).encode(encoding)
        for row, encoding in zip(rows, encodings, strict=True)
    ]
    path.write_bytes(b"\n".join(lines))

    read = read_records([path])

    assert [(row.where, row.problem) for row in read.malformed] == [("a.jsonl:2", "not UTF-8 text")]
    assert [record.prompt for record in read.records] == ["\u4e24", "third"]


@pytest.mark.parametrize("margin", [10**400, 1e999, "9" * 5000])
def test_a_number_that_no_float_holds_is_a_bad_row(path: Path, margin: int | float | str) -> None:
    row = json.dumps({**ROW, "margin": 0}).replace('"margin": 0', f'"margin": {margin}')
    path.write_text(GOOD + "\n" + row.replace("inf", "1e999"))

    assert [bad.where for bad in read_records([path]).malformed] == ["a.jsonl:2"]


def test_names_that_are_no_valid_unicode_are_told_escaped(path: Path) -> None:
    row = {"prompt": "p", "responses": ["a", "b"], "ranking": [0, 1]}
    path.write_text(json.dumps({**row, "id": "\ud800", "source": "\u4e24", "tags": ["\udfff"]}))

    (record,) = read_records([path]).records

    assert (record.id, record.source, record.tags) == ("\\ud800", "\u4e24", ("\\udfff",))


def test_nothing_but_bad_rows_is_an_error_that_names_the_first(path: Path) -> None:
    path.write_text("{\n{}\n")

    with pytest.raises(DataError, match=r"a\.jsonl:1.*a\.jsonl:2"):
        read_records([path])


def test_a_file_with_too_many_bad_rows_is_given_up(path: Path) -> None:
    path.write_text("\n".join([GOOD] * 30 + ["{"] * 21 + [GOOD] * 9))

    with pytest.raises(MalformedRow, match=r"max_malformed.*a\.jsonl:31"):
        read_records([path])
    with pytest.raises(MalformedRow, match="more than the 0"):
        read_records([path], max_malformed=0)
    assert len(read_records([path], max_malformed=21).malformed) == 21


def test_a_hundredth_of_a_large_file_may_be_bad(path: Path) -> None:
    lines = [GOOD] * 99 + ["{"]
    path.write_text("\n".join(lines * 30))

    assert len(read_records([path]).malformed) == 30


def test_rows_without_anything_to_use_are_an_error(path: Path) -> None:
    path.write_text(json.dumps({"prompt": "p", "responses": [], "scores": []}))

    with pytest.raises(DataError, match="no_response"):
        read_records([path])


def test_files_of_one_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jsonl").write_text(GOOD)

    read = read_records([tmp_path / "one", tmp_path / "two"])

    assert len({record.id for record in read.records}) == 2


def test_files_of_both_sides_in_one_folder_are_their_authors_split(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(GOOD)
    (tmp_path / "test.jsonl").write_text(json.dumps({**ROW, "prompt": "q"}))

    assert [record.split for record in read_records([tmp_path]).records] == ["heldout", "train"]
    assert read_records([tmp_path / "test.jsonl"]).records[0].split is None


def test_files_that_cannot_be_data_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "torn.jsonl.gz").write_bytes(gzip.compress(b"{}")[:-6])
    (tmp_path / "latin.jsonl").write_bytes(b"\xe9")
    for name in ("empty.jsonl", "a.txt", "torn.jsonl.gz", "latin.jsonl", "absent.jsonl"):
        with pytest.raises(DataError):
            read_records([tmp_path / name])


def test_a_format_can_be_given_instead_of_detected(path: Path) -> None:
    path.write_text(json.dumps({"chosen": "x y", "rejected": "x z"}))
    assert read_records([path], format_name="trl-implicit").records
    with pytest.raises(DataError, match="canonical"):
        read_records([path], format_name="unheard-of")
