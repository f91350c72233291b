"""What is refused before a tokenizer sees it."""

import pytest

from rm_core.errors import InputError
from rm_core.text.checks import check_characters, check_dialogue, too_many_characters
from rm_core.types import Dialogue, Message


@pytest.mark.parametrize(
    ("dialogue", "field"),
    [
        (Dialogue("p", "a \ud800 b"), "response"),
        (Dialogue("a \udfff b", "r"), "prompt"),
        (Dialogue((Message("user", "fine"), Message("user", "\ud800")), "r"), "prompt"),
    ],
)
def test_a_lone_surrogate_is_told_by_field_and_not_repeated(dialogue: Dialogue, field: str) -> None:
    with pytest.raises(InputError, match="surrogate") as caught:
        check_dialogue(dialogue)

    assert caught.value.field == field
    assert "\ud800" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "plain", "é 漢 😀", "\x00", "\ufffd"])
def test_every_valid_text_passes(text: str) -> None:
    check_characters(text, "response")
    check_dialogue(Dialogue(text, text))


def test_too_many_characters_tells_both_numbers_and_the_field() -> None:
    error = too_many_characters(1000, 10, "prompt")

    assert "1000 characters" in str(error)
    assert "10 tokens" in str(error)
    assert error.field == "prompt"
