from typing import Any

import pytest

from rewardd.files.columns import Columns
from rewardd.files.rows import BadRow
from rm_client.models import GroupItem, MessagesItem, ResponseItem
from training.data.rows.row import Cells

USER = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}
OTHER = {"role": "assistant", "content": "b"}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"prompt": "p", "response": "r"}, ResponseItem),
        ({"prompt": [USER], "response": "r", "score": 3}, ResponseItem),
        ({"prompt": "p", "responses": ["a"], "response": "r"}, GroupItem),
        ({"messages": [USER, ANSWER], "prompt": "p", "responses": ["a"]}, MessagesItem),
        ({"messages": None, "responses": None, "prompt": "p", "response": "r"}, ResponseItem),
    ],
)
def test_a_row_is_the_item_that_its_columns_make(values: dict[str, Any], kind: type) -> None:
    assert type(Columns().score_item(values)) is kind


def test_columns_of_other_names_are_found_by_their_options() -> None:
    values = {"q": "p", "a": "r", "harmful": True, "messages": [USER, ANSWER]}

    item = Columns(prompt="q", response="a", is_safety="harmful").score_item(values)

    assert item == ResponseItem(prompt="p", response="r", is_safety=True)


def test_several_columns_together_are_the_responses() -> None:
    values = {"prompt": "p", "chosen": "good", "rejected": "bad", "more": ["c", "d"]}
    columns = Columns(responses=("chosen", "rejected", "more"))

    assert columns.compare_item(values).responses == ["good", "bad", "c", "d"]
    assert columns.score_item(values) == GroupItem(prompt="p", responses=["good", "bad", "c", "d"])


@pytest.mark.parametrize(
    "values",
    [
        {"chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
        {"prompt": "its last turn", "chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [OTHER]},
    ],
)
def test_chats_bring_their_prompt_along_and_an_answer_alone_takes_the_column(
    values: dict[str, Any],
) -> None:
    item = Columns(responses=("chosen", "rejected")).compare_item(values)

    assert [message.model_dump() for message in item.prompt] == [USER]  # type: ignore[union-attr]
    assert item.responses == ["a", "b"]


def test_fields_that_a_table_fills_with_null_are_no_fields() -> None:
    message = {**ANSWER, "tool_calls": None}

    item = Columns().score_item({"messages": [USER, message]})

    assert isinstance(item, MessagesItem)


@pytest.mark.parametrize(
    ("columns", "values", "code"),
    [
        (Columns(), {"prompt": "p"}, "missing_column"),
        (Columns(), {"response": "r"}, "missing_column"),
        (Columns(response="answer"), {"prompt": "p", "response": "r"}, "missing_column"),
        (Columns(), {"prompt": 3, "response": "r"}, "invalid_item"),
        (Columns(), {"prompt": "p", "response": "r", "is_safety": "yes"}, "invalid_item"),
        (Columns(), {"prompt": "p", "response": "\ud800"}, "invalid_item"),
        (Columns(), {"messages": [ANSWER, USER]}, "invalid_item"),
        (Columns(), {"messages": "a text"}, "invalid_item"),
        (Columns(response="c"), {"prompt": "p", "c": [ANSWER, USER]}, "invalid_messages"),
        (
            Columns(responses=("a", "b")),
            {"a": [USER, ANSWER], "b": [{**USER, "content": "another"}, OTHER]},
            "different_prompts",
        ),
    ],
)
def test_a_row_without_an_item_says_why_and_never_its_text(
    columns: Columns, values: dict[str, Any], code: str
) -> None:
    with pytest.raises(BadRow) as caught:
        columns.score_item(values)

    assert caught.value.code == code
    assert "another" not in caught.value.detail


def test_a_comparison_needs_two_responses() -> None:
    with pytest.raises(BadRow) as caught:
        Columns().compare_item({"prompt": "p", "responses": ["one"]})

    assert caught.value.code == "invalid_item"


@pytest.mark.parametrize(
    ("columns", "values", "told"),
    [
        (
            Columns(),
            {"prompt": "p", "respones": "r"},
            "there is no `response`; did you mean `respones`? Name it with "
            "--response-column respones",
        ),
        (Columns(), {"prompt": "p", "response": None}, "`response` is null"),
        (Columns(), Cells({"prompt": "p"}, {"response"}), "`response` is empty"),
        (
            Columns(),
            {"Prompt": "p", "response": "r"},
            "there is no `prompt`; did you mean `Prompt`? Name it with --prompt-column Prompt",
        ),
        (
            Columns(responses=("chosen", "rejected")),
            {"prompt": "p", "chosen": "a", "rejected": None},
            "`rejected` is null",
        ),
        (
            Columns(),
            {"q": "p", "a": "r"},
            "there is no column response, responses, messages; name yours with --response-column "
            "or --responses-column or --messages-column",
        ),
        (
            Columns(),
            {"prompt": "p", "response": ["a", "b"]},
            "`response` holds a list; name it with --responses-column",
        ),
    ],
)
def test_a_column_that_is_not_there_is_told_with_the_nearest_name_and_null_as_null(
    columns: Columns, values: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadRow) as problem:
        columns.score_item(values)

    assert problem.value.detail == told
