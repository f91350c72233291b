"""Columns that the user names."""

from pathlib import Path
from typing import Any

import pytest

from rm_core.types import Message
from tests.training.data.formats.golden import read_rows, record
from training.data.formats.openrlhf import OpenRlhfFormat
from training.data.formats.options import FormatOptions
from training.errors import MalformedRow

KEYS = FormatOptions(prompt_key="question", chosen_key="good", rejected_key="bad")
ROW = {"question": "Is tea hot?", "good": "Mostly.", "bad": "Tea.", "margin": 1.5, "chosen": 7}


def test_named_columns_are_read_whatever_else_the_row_holds(tmp_path: Path) -> None:
    assert read_rows(tmp_path, [ROW], KEYS).records == (
        record(1, prompt="Is tea hot?", responses=("Mostly.", "Tea."), ranking=(0, 1), margin=1.5),
    )


def test_the_template_takes_the_prompt_and_braces_in_it_stay(tmp_path: Path) -> None:
    options = FormatOptions(
        prompt_key="question",
        chosen_key="good",
        rejected_key="bad",
        input_template="User: {}\nBot:",
    )

    read = read_rows(tmp_path, [{**ROW, "question": "What is {x}?"}], options)

    assert read.records[0].prompt == "User: What is {x}?\nBot:"


def test_messages_in_named_columns_are_chats(tmp_path: Path) -> None:
    user = {"role": "user", "content": "Is tea hot?"}
    row = {
        "question": [user],
        "good": [{"role": "assistant", "content": "Mostly."}],
        "bad": [{"role": "assistant", "content": "Tea."}],
    }

    assert read_rows(tmp_path, [row], KEYS).records == (
        record(
            1,
            prompt=(Message("user", "Is tea hot?"),),
            responses=("Mostly.", "Tea."),
            ranking=(0, 1),
        ),
    )


def test_without_a_prompt_column_the_sides_hold_the_prompt(tmp_path: Path) -> None:
    options = FormatOptions(chosen_key="good", rejected_key="bad")

    read = read_rows(tmp_path, [{"good": "Tea is hot.", "bad": "Tea is tea."}], options)

    assert read.records[0].prompt == "Tea is "


@pytest.mark.parametrize(
    "row", [{"good": "a", "bad": "b"}, {**ROW, "question": None}, {**ROW, "good": 1}]
)
def test_a_row_without_a_named_column_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(MalformedRow):
        OpenRlhfFormat(KEYS).parse(row, id_="", source="")


def test_columns_that_nobody_named_are_not_matched() -> None:
    assert not OpenRlhfFormat().matches({"chosen": "a", "rejected": "b"})
