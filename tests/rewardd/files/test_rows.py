import gzip
import json
from contextlib import closing
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewardd.files.columns import Columns
from rewardd.files.open import open_rows
from rewardd.files.rows import BadRow, BatchFailed, unreadable
from rm_client.models import ResponseItem
from tests.training.data.rows.workbooks import write_workbook
from training.errors import DataError

ROWS = [{"prompt": f"p{i}", "response": f"r{i}", "n": i} for i in range(150)]
TEXT = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def write_all(root: Path) -> list[Path]:
    """The same rows in every format."""
    array = json.dumps(ROWS, indent=1).encode()
    files = {
        "a.jsonl": TEXT,
        "b.jsonl.gz": gzip.compress(TEXT),
        "c.json": array,
        "d.json.gz": gzip.compress(array),
        "e.json": TEXT,  # JSON Lines under the name of an array
        "f.ndjson": TEXT,
    }
    for name, content in files.items():
        (root / name).write_bytes(content)
    pq.write_table(pa.Table.from_pylist(ROWS), root / "g.parquet", row_group_size=40)
    datasets.Dataset.from_list(ROWS).save_to_disk(str(root / "h"))
    splits = {"train": datasets.Dataset.from_list(ROWS)}
    datasets.DatasetDict(splits).save_to_disk(str(root / "i"))
    return [*(root / name for name in files), root / "g.parquet", root / "h", root / "i"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_all(tmp_path_factory.mktemp("rows"))


@pytest.mark.parametrize("first", [0, 1, 39, 40, 41, 149, 150, 151])
def test_every_format_gives_the_same_rows_from_any_row_on(inputs: list[Path], first: int) -> None:
    for path in inputs:
        with closing(open_rows(str(path))) as rows:
            found = [row.values for row in rows.read(first)]
            assert rows.total == rows.done, path.name

        assert found == ROWS[first:], path.name


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.jsonl", None, "does not exist"),
        ("table.xml", b"<a/>", "not known"),
        ("table.parquet", b"PAR1 but no", "not a Parquet file"),
    ],
)
def test_what_cannot_be_opened_says_why(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)

    with pytest.raises((BatchFailed, DataError), match=message):
        open_rows(str(path))


def test_a_dataset_with_several_splits_wants_one_named(tmp_path: Path) -> None:
    parts = {name: datasets.Dataset.from_list([{"n": name}]) for name in ("train", "test")}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "both"))

    with pytest.raises(BatchFailed, match="train, test"):
        open_rows(str(tmp_path / "both"))
    rows = open_rows(str(tmp_path / "both"), split="test")
    assert [row.values for row in rows.read(0)] == [{"n": "test"}]


def test_a_directory_that_is_no_dataset_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BatchFailed, match="save_to_disk"):
        open_rows(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "code", "detail"),
    [
        (
            "a.jsonl",
            b'\n{"secret": oops}',
            "invalid_json",
            "line 2 of the input is not JSON: E",
        ),
        (
            "a.jsonl",
            b'{"secret": "\xff"}',
            "invalid_json",
            "line 1 of the input is not UTF-8",
        ),
        ("a.jsonl", b'{"secret": NaN}', "invalid_json", "line 1 of the input is not strict JSON"),
        ("a.json", b'[{}, ["secret"]]', "invalid_row", "element 2 of the input is not a JSON obje"),
    ],
)
def test_a_problem_tells_the_place_and_never_the_text(
    tmp_path: Path, name: str, content: bytes, code: str, detail: str
) -> None:
    (tmp_path / name).write_bytes(content)

    with closing(open_rows(str(tmp_path / name))) as rows:
        *_, row = rows.read()

    problem = unreadable(row)
    assert problem is not None
    assert problem.code == code
    assert problem.detail.startswith(detail)
    assert "secret" not in problem.detail


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'prompt,response,is_safety\n"a\nb",[1],true\nc,,false\n'),
        ("a.csv", 'prompt;response;is_safety\n"a\nb";[1];true\nc;;false\n'),
        ("a.tsv", 'prompt\tresponse\tis_safety\n"a\nb"\t[1]\ttrue\nc\t\tfalse\n'),
    ],
)
def test_cells_of_a_table_are_texts_and_flags(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)

    with closing(open_rows(str(tmp_path / name))) as rows:
        whole, empty = rows.read()
        assert rows.total == rows.done

    assert whole.values == {"prompt": "a\nb", "response": "[1]", "is_safety": True}
    assert (empty.number, empty.values) == (4, {"prompt": "c", "is_safety": False})
    assert Columns().score_item(whole.values) == ResponseItem(
        prompt="a\nb", response="[1]", is_safety=True
    )
    with pytest.raises(BadRow, match="`response` is empty"):
        Columns().score_item(empty.values)


def test_a_sheet_of_a_workbook_is_a_table(tmp_path: Path) -> None:
    path = write_workbook(tmp_path / "a.xlsx", ROWS[:3], notes=[["x"], ["y"]])

    with closing(open_rows(str(path), split="rows")) as rows:
        assert [row.values for row in rows.read(1)] == ROWS[1:3]
