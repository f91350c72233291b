"""The same rows in every kind of file."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from datasets import Dataset

from tests.training.data.rows.workbooks import write_workbook
from training.data.formats.files import SUFFIXES, rows_of_file
from training.errors import DataError

CHAT = [{"role": "user", "content": "Hi"}]
ROWS: list[dict[str, Any]] = [
    {"prompt": "Why?\nReally?", "chosen": "So.", "rejected": "[1, 2]", "margin": 0.5},
    {"prompt": "7", "chosen": "true", "rejected": '{"a": 1}'},
]


def write(path: Path) -> None:
    """The rows as the file's name says."""
    plain = path.name.removesuffix(".gz")
    if plain.endswith(".parquet"):
        pa.parquet.write_table(pa.Table.from_pylist(ROWS), path)
    elif plain.endswith(".arrow"):
        Dataset.from_list(ROWS).save_to_disk(path.parent / "saved")
        next((path.parent / "saved").glob("*.arrow")).rename(path)
    elif plain.endswith(".xlsx"):
        write_workbook(path, ROWS)
    elif plain.endswith((".csv", ".tsv")):
        separator = "\t" if plain.endswith(".tsv") else ","
        with (path.parent / plain).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(ROWS[0]), delimiter=separator)
            writer.writeheader()
            writer.writerows(ROWS)
    elif plain.endswith(".json"):
        (path.parent / plain).write_text(json.dumps(ROWS))
    else:
        (path.parent / plain).write_text("\n".join(json.dumps(row) for row in ROWS))
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress((path.parent / plain).read_bytes()))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_of_file_holds_the_same_rows(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    write(path)

    rows = list(rows_of_file(path, "data"))

    assert [row.value for row in rows] == ROWS
    assert all(row.where.startswith("data:") for row in rows)


def test_arrow_files_are_read_as_well_as_streams(tmp_path: Path) -> None:
    path = tmp_path / "data.arrow"
    pa.feather.write_feather(pa.Table.from_pylist(ROWS), path, compression="uncompressed")

    assert [row.value for row in rows_of_file(path, "data")] == ROWS


def test_csv_rows_are_named_by_the_line_they_begin_on(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text('prompt,chosen\n"two\nlines",a\nb,c,d\n"un"quoted,x\ne,f\n')

    rows = list(rows_of_file(path, "data.csv"))

    assert [row.where for row in rows] == [f"data.csv:{line}" for line in (2, 4, 5, 6)]
    assert [row.value is None for row in rows] == [False, True, True, False]
    assert "unquoted" not in rows[2].problem


def test_csv_cells_hold_lists_and_numbers_where_a_format_wants_them(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["chosen", "scores", "kto_tag", "chosen_ids", "note"])
        writer.writerow([json.dumps(CHAT), "[1, 0.5]", "True", "[3, 4]", ""])

    assert next(rows_of_file(path, "d")).value == {
        "chosen": CHAT,
        "scores": [1, 0.5],
        "kto_tag": True,
        "chosen_ids": [3, 4],
    }


def test_a_cell_may_be_longer_than_the_csv_modules_own_limit(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("prompt\n" + "x" * 200_000 + "\n")

    assert len((next(rows_of_file(path, "d")).value or {})["prompt"]) == 200_000


@pytest.mark.parametrize(
    "name", ["a.parquet", "a.arrow", "a.csv.gz", "a.jsonl.gz", "a.xlsx", "a.txt"]
)
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x00nothing of the kind")

    with pytest.raises(DataError, match="a\\."):
        list(rows_of_file(path, name))


def test_a_table_in_another_encoding_is_refused_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("prompt\nplain\ncaf\xe9\n".encode("latin-1"))

    with pytest.raises(DataError, match=r"a\.csv:3 is not UTF-8"):
        list(rows_of_file(path, "a.csv"))


@pytest.mark.parametrize(
    ("name", "beginning", "told"),
    [
        ("a.csv", b"PK\x03\x04rest", r"name a workbook \.xlsx"),
        ("a.csv", b"\xd0\xcf\x11\xe0rest", r"save it as \.xlsx or CSV"),
        ("a.jsonl", b"\x1f\x8b\x08rest", r"end in \.gz"),
        ("a.json", b"PAR1rest", r"end in \.parquet"),
    ],
)
def test_a_file_under_a_wrong_name_is_told_its_right_one(
    tmp_path: Path, name: str, beginning: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(beginning)

    with pytest.raises(DataError, match=rf"{name} is .*{told}"):
        list(rows_of_file(tmp_path / name, name))


@pytest.mark.parametrize("content", ['{\n"a": 1}', "[", "3"])
def test_a_json_file_must_hold_a_list(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)

    with pytest.raises(DataError, match=r"a\.json"):
        list(rows_of_file(path, "a.json"))
