import json
from pathlib import Path
from typing import Any

import pytest

from training.data.formats import read_records
from training.data.formats.registry import detect_format
from training.data.formats.unknown import why_unknown
from training.errors import DataError, MalformedRow

PAIR = {"prompt": "p", "chosen": "a", "rejected": "secret"}
KEYS = "Rename it, or write after the file's name: ,"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({**PAIR, "rejected": None}, "`rejected` is null"),
        ({"prompt": "p", "chosen": "a"}, "there is no `rejected`"),
        (
            {"prompt": "p", "choosen": "a", "rejected": "b"},
            f"there is no `chosen`; did you mean `choosen`? {KEYS}"
            "prompt_key=prompt,chosen_key=choosen,rejected_key=rejected",
        ),
        (
            {"Chosen": "a", "Rejected": "b"},
            f"there is no `chosen`; did you mean `Chosen`? {KEYS}"
            "chosen_key=Chosen,rejected_key=Rejected",
        ),
        (
            {**PAIR, "rejected": ["b"]},
            "the columns hold what no format has together: `prompt` a string, `chosen` a string, "
            "`rejected` a list",
        ),
        (
            {"prompt": "p", "response_1": "a", "response2": "b", "preference_strength": 2},
            "there is no `response_2`; did you mean `response2`?",
        ),
        (
            {"question": "p", "good": "a"},
            "the columns are question, good, and no format has such; say which are meant after the "
            "file's name: ,prompt_key=…,chosen_key=…,rejected_key=…",
        ),
    ],
)
def test_the_column_is_named_and_its_nearest_and_nothing_else(
    row: dict[str, Any], told: str
) -> None:
    with pytest.raises(MalformedRow):
        detect_format(row)

    assert why_unknown(row) == told


def test_the_keys_that_are_advised_are_understood(tmp_path: Path) -> None:
    row = {"prompt": "p", "choosen": "a", "rejected": "b"}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))

    read = read_records([f"{path}{why_unknown(row).partition(KEYS[:-1])[2]}"])

    assert [record.responses for record in read.records] == [("a", "b")]


def test_a_file_is_refused_with_the_line_and_the_problem_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({**PAIR, "rejected": None}) for _ in range(5)))

    with pytest.raises(DataError) as refused:
        read_records([path])

    assert str(refused.value) == (
        f"no row of {path} can be read: rows.jsonl:1: `rejected` is null (and in 4 more)"
    )


def test_a_later_row_is_told_of_in_the_same_words(tmp_path: Path) -> None:
    rows = [PAIR, {**PAIR, "rejected": None}, {"prompt": "p", "chosen": "a", "rejectd": "b"}]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))

    malformed = read_records([path]).malformed

    assert [(row.where, row.problem) for row in malformed] == [
        ("rows.jsonl:2", "`rejected` is null"),
        ("rows.jsonl:3", "there is no `rejected`; did you mean `rejectd`?"),
    ]


def test_an_empty_cell_is_told_as_empty(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("prompt;chosen;rejected\np;a;b\nq;c;\n")

    assert read_records([path]).malformed[0].problem == "`rejected` is empty"
