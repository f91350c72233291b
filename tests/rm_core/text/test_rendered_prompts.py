"""Prompts that have been through a template already: the response is appended as it stands."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rm_core.errors import EmptyText, InputTooLong, InvalidMessages
from rm_core.text.encoder import TextEncoder
from rm_core.types import Dialogue, Message, RenderedText
from tests.models import make_tokenizer
from tests.rm_core.text.encoders import text_encoder

PROMPT = "<s><user>ab</s><assistant>"
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="<"), min_size=1, max_size=20)


def encoder(**more: Any) -> TextEncoder:
    return text_encoder(make_tokenizer(chat=True, add_bos=True), **more)


def rendered(response: str, prompt: str = PROMPT, **more: Any) -> Dialogue:
    return Dialogue(prompt, response, rendered=True, **more)


@given(TEXTS, TEXTS.filter(str.strip))
def test_a_rendered_prompt_and_its_response_read_like_the_dialogue(
    prompt: str, response: str
) -> None:
    reader = encoder()
    given_already = rendered(response + "</s>", f"<s><user>{prompt}</s><assistant>")

    found, expected = reader.encode(given_already), reader.encode(Dialogue(prompt, response))

    assert found.input_ids == expected.input_ids
    assert found.read_position == expected.read_position


@given(TEXTS, TEXTS.filter(str.strip))
def test_they_read_like_the_whole_text(prompt: str, response: str) -> None:
    for reader in (
        encoder(),
        text_encoder(make_tokenizer(add_bos=True, add_eos=True)),
        text_encoder(make_tokenizer(), bos="if_absent", eos="closing"),
    ):
        apart = reader.encode(rendered(response, prompt))

        assert apart == reader.encode(RenderedText(prompt + response, len(prompt)))


def test_without_the_flag_the_prompt_is_wrapped_again() -> None:
    reader = encoder()
    dialogue = rendered("cd</s>")

    assert reader.encode(dialogue) != reader.encode(replace(dialogue, rendered=False))


def test_tokens_and_steps_are_those_of_the_dialogue() -> None:
    reader = encoder()

    for read_at in ("tokens", (1, 3)):
        plain = reader.encode(Dialogue("ab", "cde", read_at=read_at))
        found = reader.encode(rendered("cde</s>", read_at=read_at))
        stripped = reader.encode(rendered("cde</s>", PROMPT.removeprefix("<s>"), read_at=read_at))

        assert [one.position for one in found.extra_positions] == [
            one.position for one in plain.extra_positions
        ]
        assert stripped == found
        assert found.extra_positions[0].text == "c"


def test_a_long_rendered_prompt_loses_its_left_and_a_long_response_is_refused() -> None:
    reader = encoder(max_length=16)
    long_prompt = "<s><user>" + "p" * 40 + "</s><assistant>"

    cut = reader.encode(rendered("cde</s>", long_prompt), truncate="prompt")

    assert cut.num_tokens == 16
    assert cut.warnings == ("truncated",)
    assert cut.input_ids[-4:] == reader.encode(RenderedText("cde</s>")).input_ids[-4:]
    for response, truncate, field in (("cde", "error", "prompt"), ("c" * 16, "prompt", "response")):
        with pytest.raises(InputTooLong) as refused:
            reader.encode(rendered(response, long_prompt), truncate=truncate)  # type: ignore[arg-type]
        assert refused.value.field == field


def test_empty_responses_are_refused_unless_they_are_allowed() -> None:
    with pytest.raises(EmptyText) as refused:
        encoder().encode(rendered(" "))
    assert refused.value.field == "response"
    assert encoder().encode(rendered("", allow_empty=True)) == encoder().encode(
        RenderedText(PROMPT, len(PROMPT))
    )
    with pytest.raises(EmptyText):
        encoder().encode(rendered("", "", allow_empty=True))


def test_messages_are_never_rendered_already() -> None:
    with pytest.raises(InvalidMessages, match="leave `rendered` out") as refused:
        encoder().encode(Dialogue((Message("user", "ab"),), "cd", rendered=True))
    assert refused.value.field == "prompt"
