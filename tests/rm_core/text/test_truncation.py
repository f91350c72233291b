"""A text that is too long loses its left, the prompt's first, and never its end or its BOS."""

from typing import Any

import pytest

from rm_core.errors import InputError, InputTooLong
from rm_core.text.encoder import TextEncoder
from rm_core.types import Dialogue, Encoded, RenderedText, RewardInput
from tests.models import BOS, EOS, make_tokenizer
from tests.rm_core.text.encoders import text_encoder

LIMIT = 16


def encoder(*, chat: bool = True, **changes: Any) -> TextEncoder:
    return text_encoder(make_tokenizer(chat=chat, add_bos=chat), max_length=LIMIT, **changes)


def whole(subject: RewardInput, **options: Any) -> tuple[int, ...]:
    """The ids of the text uncut."""
    reader = text_encoder(make_tokenizer(**options), max_length=10**6)
    return reader.encode(subject).input_ids


def is_the_tail(encoded: Encoded, ids: tuple[int, ...]) -> bool:
    return encoded.input_ids == (BOS, *ids[-(LIMIT - 1) :])


PROMPT, LONG = "Is 27 prime?", "abcdefghijklmnopqrstuvwxyz" * 3


@pytest.mark.parametrize(
    "subject",
    [
        Dialogue(PROMPT, LONG),
        RenderedText(f"<s><user>{PROMPT}</s><assistant>{LONG}</s>", len(PROMPT) + 17),
        RenderedText(f"<s><user>{PROMPT}</s><assistant>{LONG}</s>"),
    ],
    ids=["dialogue", "border known", "border unknown"],
)
def test_what_stays_of_a_response_that_is_too_long_is_the_texts_tail(subject: RewardInput) -> None:
    cut = encoder().encode(subject, truncate="left")

    assert is_the_tail(cut, whole(subject, chat=True, add_bos=True))
    assert cut.input_ids[-1] == EOS
    known = not isinstance(subject, RenderedText) or subject.num_prompt_characters is not None
    assert cut.warnings == (("truncated", "response_truncated") if known else ("truncated",))
    with pytest.raises(InputTooLong):
        encoder().encode(subject)


def test_a_response_is_left_whole_while_the_prompt_suffices() -> None:
    subject = Dialogue("p" * 100, "abc")

    cut = encoder().encode(subject, truncate="left")

    assert cut == encoder().encode(subject, truncate="prompt")
    assert cut.warnings == ("truncated",)
    assert cut.num_prompt_tokens == LIMIT - len("abc") - 1


def test_a_prompt_that_is_used_up_leaves_the_bos() -> None:
    cut = encoder().encode(Dialogue(PROMPT, LONG), truncate="left")

    assert cut.num_prompt_tokens == 1


@pytest.mark.parametrize("response", ["r" * 5000 + "xyz", "xyz"], ids=["response", "prompt"])
def test_a_bos_outlives_a_text_that_is_cut_before_it_is_tokenised(response: str) -> None:
    subject = Dialogue("p" * 5000, response)
    text = f"<s><user>{subject.prompt}</s><assistant>{response}</s>"
    expected = whole(subject, chat=True, add_bos=True)

    assert is_the_tail(encoder().encode(subject, truncate="left"), expected)
    for border in (None, len(text) - len(response) - len("</s>")):
        assert is_the_tail(encoder().encode(RenderedText(text, border), truncate="left"), expected)


def test_what_was_cut_before_it_was_tokenised_is_told_also_where_few_tokens_are_left() -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["x" * 128])
    reader = text_encoder(tokenizer, max_length=LIMIT)

    cut = reader.encode(Dialogue("", "x" * 1280), truncate="left")

    assert cut.num_tokens < LIMIT
    assert cut.warnings[:2] == ("truncated", "response_truncated")


def test_the_response_of_an_absurd_length_is_refused_where_only_prompts_are_cut() -> None:
    with pytest.raises(InputError, match="characters"):
        encoder().encode(Dialogue(PROMPT, "r" * 5000), truncate="prompt")
