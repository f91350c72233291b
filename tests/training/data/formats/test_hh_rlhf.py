r"""HH-RLHF's transcripts: cut at the last "\n\nAssistant:", read as chats."""

import pytest

from rm_core.types import Message
from training.data.formats.hh_rlhf import HhRlhfFormat, has_turn_marks, transcript_messages
from training.errors import MalformedRow, UnusableRow

BEFORE = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant:"


def test_everything_before_the_last_assistant_turn_is_the_prompt() -> None:
    row = {"chosen": BEFORE + " Because.", "rejected": BEFORE + " No", "margin": 1}

    record = HhRlhfFormat().parse(row, id_="f:1", source="f")

    assert HhRlhfFormat().matches(row)
    assert record.prompt == (
        Message("user", "Hi"),
        Message("assistant", "Hello"),
        Message("user", "Why?"),
    )
    assert (record.responses, record.ranking) == (("Because.", "No"), (0, 1))
    assert (record.id, record.source, record.margin) == ("f:1", "f", 1)


def test_an_answer_may_speak_of_humans_and_assistants_in_its_lines() -> None:
    answer = "Assistant: is a word.\nHuman: is another"

    record = HhRlhfFormat().parse(
        {"chosen": f"{BEFORE} {answer}", "rejected": BEFORE + " No"}, id_="", source=""
    )

    assert record.responses == (answer, "No")


def test_dialogues_that_differ_before_the_last_turn_are_set_aside() -> None:
    row = {"chosen": BEFORE + " y", "rejected": "\n\nHuman: Hi\n\nAssistant: z"}

    with pytest.raises(UnusableRow, match="prompts_differ"):
        HhRlhfFormat().parse(row, id_="", source="")


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": "Human: Hi\n\nAssistant: x", "rejected": BEFORE + " y"},  # no leading lines
        {"chosen": "\n\nHuman: Hi", "rejected": BEFORE + " y"},
        {"chosen": BEFORE + " x", "rejected": BEFORE + " y", "prompt": "p"},
        {"chosen": BEFORE + " x"},
        {"chosen": [BEFORE], "rejected": [BEFORE]},
    ],
)
def test_other_rows_are_not_taken_for_transcripts(row: dict[str, object]) -> None:
    assert not HhRlhfFormat().matches(row)


@pytest.mark.parametrize(
    ("prompt", "waits"),
    [
        (BEFORE, True),
        (BEFORE + " \n", True),
        (BEFORE + " Because.", False),
        ("What does Assistant: mean?", False),
        ("Assistant:", False),
    ],
)
def test_only_a_prompt_that_waits_for_the_assistant_is_a_transcript(
    prompt: str, waits: bool
) -> None:
    assert has_turn_marks(prompt) == waits


def test_an_assistant_turn_to_come_is_no_message_and_a_text_before_the_first_mark_is_refused() -> (
    None
):
    assert transcript_messages(BEFORE)[-1] == Message("user", "Why?")
    with pytest.raises(MalformedRow, match="must begin with"):
        transcript_messages("Well. " + BEFORE)
