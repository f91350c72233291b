"""TRL's formats: a prompt apart, a common beginning, and chats."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rm_core.types import Message
from training.data.formats import format_named
from training.data.formats.trl import (
    TrlConversationalFormat,
    TrlImplicitFormat,
)
from training.errors import MalformedRow, UnusableRow

QUESTION = {"role": "user", "content": "Why is the sky blue?"}
GOOD, BAD = "Rayleigh scattering.", "It is not."


def answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def test_an_explicit_row_is_taken_as_it_stands() -> None:
    row = {"prompt": "The sky is", "chosen": " blue.", "rejected": " green.", "margin": 0.5}

    record = format_named("trl-explicit").parse(row, id_="f:1", source="f")

    assert (record.prompt, record.responses) == ("The sky is", (" blue.", " green."))
    assert (record.ranking, record.margin) == ((0, 1), 0.5)
    assert (record.id, record.source) == ("f:1", "f")


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("The sky is blue.", "The sky is black.", "The sky is "),
        ("The sky is blue", "The sky is blue-green", "The sky is "),
        ("Say: yes", "Say: no", "Say: "),
        ("A\nb", "A\nc", "A\n"),
    ],
)
def test_the_common_beginning_is_the_prompt_and_tears_no_word_apart(
    chosen: str, rejected: str, prompt: str
) -> None:
    row = {"chosen": chosen, "rejected": rejected}

    record = TrlImplicitFormat().parse(row, id_="", source="")

    assert record.prompt == prompt
    assert record.responses == (chosen[len(prompt) :], rejected[len(prompt) :])


@given(
    prompt=st.text(alphabet="ab ", min_size=1).filter(str.strip),
    answers=st.tuples(st.text(alphabet="xy "), st.text(alphabet="zw ")),
)
def test_prompt_and_response_put_together_are_the_row(
    prompt: str, answers: tuple[str, str]
) -> None:
    chosen, rejected = (f"{prompt} {own}" for own in answers)

    record = TrlImplicitFormat().parse({"chosen": chosen, "rejected": rejected}, id_="", source="")

    assert tuple(f"{record.prompt}{own}" for own in record.responses) == (chosen, rejected)


def test_sides_with_nothing_in_common_have_no_prompt() -> None:
    row = {"chosen": "One thing", "rejected": "Another thing"}

    with pytest.raises(UnusableRow, match="prompts_differ"):
        TrlImplicitFormat().parse(row, id_="", source="")


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": [QUESTION, answer(GOOD)], "rejected": [QUESTION, answer(BAD)]},
        {"prompt": [QUESTION], "chosen": [answer(GOOD)], "rejected": [answer(BAD)]},
        {"prompt": QUESTION["content"], "chosen": [answer(GOOD)], "rejected": [answer(BAD)]},
    ],
    ids=["whole chats", "prompt apart", "prompt a text"],
)
def test_the_last_assistant_messages_of_a_chat_are_compared(row: dict[str, Any]) -> None:
    record = TrlConversationalFormat().parse({**row, "margin": 2}, id_="", source="")

    assert record.prompt == (Message("user", QUESTION["content"]),)
    assert (record.responses, record.margin) == ((GOOD, BAD), 2)


def test_chats_that_differ_before_the_last_message_are_set_aside() -> None:
    other = {"role": "user", "content": "Another question?"}
    row = {"chosen": [QUESTION, answer(GOOD)], "rejected": [other, answer(GOOD)]}

    with pytest.raises(UnusableRow, match="prompts_differ"):
        TrlConversationalFormat().parse(row, id_="", source="")


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"chosen": [{"role": "user"}], "rejected": []}, "role"),
        ({"chosen": [QUESTION], "rejected": []}, "chosen"),
        ({"chosen": [QUESTION, answer(GOOD)], "rejected": [answer(BAD)]}, "rejected"),
        ({"chosen": [QUESTION, answer(GOOD), QUESTION], "rejected": []}, "chosen"),
    ],
)
def test_a_chat_without_an_answer_is_refused_by_the_name_of_its_side(
    row: dict[str, Any], word: str
) -> None:
    with pytest.raises(MalformedRow, match=word):
        TrlConversationalFormat().parse(row, id_="", source="")


def test_a_margin_that_is_no_number_is_refused() -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "margin": "big"}

    with pytest.raises(MalformedRow, match="margin"):
        format_named("trl-explicit").parse(row, id_="", source="")


@pytest.mark.parametrize(
    "extra",
    [
        {"tools": [{"name": "search"}]},
        {"tools": '[{"name": "search"}]'},
        {"chat_template_kwargs": {"enable_thinking": False}},
    ],
)
def test_rows_whose_template_needs_more_than_messages_are_set_aside(extra: dict[str, Any]) -> None:
    row = {"chosen": [QUESTION, answer(GOOD)], "rejected": [QUESTION, answer(BAD)]}

    with pytest.raises(UnusableRow, match="template_arguments"):
        TrlConversationalFormat().parse({**row, **extra}, id_="", source="")


@pytest.mark.parametrize("extra", [{"tools": None}, {"tools": "[]"}, {"chat_template_kwargs": {}}])
def test_empty_tools_and_arguments_ask_for_nothing(extra: dict[str, Any]) -> None:
    row = {"chosen": [QUESTION, answer(GOOD)], "rejected": [QUESTION, answer(BAD)], **extra}

    assert TrlConversationalFormat().parse(row, id_="", source="").responses == (GOOD, BAD)


def test_a_prompt_that_both_sides_repeat_is_taken_once() -> None:
    row = {
        "prompt": QUESTION["content"],
        "chosen": [QUESTION, answer(GOOD)],
        "rejected": [QUESTION, answer(BAD)],
    }

    record = TrlConversationalFormat().parse(row, id_="", source="")

    assert record.prompt == (Message("user", QUESTION["content"]),)


def test_contents_in_text_parts_are_read_and_pictures_are_not() -> None:
    parts = [{"type": "text", "text": "Rayleigh "}, {"type": "text", "text": "scattering."}]
    row = {
        "chosen": [QUESTION, {"role": "assistant", "content": parts}],
        "rejected": [QUESTION, answer(BAD)],
    }

    assert TrlConversationalFormat().parse(row, id_="", source="").responses[0] == GOOD
    parts[0] = {"type": "image"}
    with pytest.raises(MalformedRow, match="content"):
        TrlConversationalFormat().parse(row, id_="", source="")


@pytest.mark.parametrize("completion", [GOOD, [answer(GOOD)]])
@pytest.mark.parametrize(("label", "rating"), [(True, 1.0), (False, 0.0)])
def test_a_single_judgement_is_a_rating(completion: Any, label: bool, rating: float) -> None:
    row = {"prompt": [QUESTION], "completion": completion, "label": label}

    record = format_named("trl-unpaired").parse(row, id_="f:1", source="f")

    assert record.prompt == (Message("user", QUESTION["content"]),)
    assert (record.responses, record.ranking, record.ratings) == ((GOOD,), (0,), (rating,))


def test_a_single_judgement_needs_a_label() -> None:
    row = {"prompt": "p", "completion": "c", "label": "good"}

    with pytest.raises(MalformedRow, match="label"):
        format_named("trl-unpaired").parse(row, id_="", source="")
