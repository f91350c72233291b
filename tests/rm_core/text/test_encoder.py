"""The position contract: BOS and EOS once, the right position, nothing cut silently."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rm_core.errors import (
    EmptyText,
    InputError,
    InputTooLong,
    InvalidManifest,
    InvalidMessages,
)
from rm_core.text.contract import PositionContract, default_contract, template_digest
from rm_core.text.encoder import TextEncoder
from rm_core.types import Dialogue, Message, RenderedText
from tests.models import BOS, CHAT_TEMPLATE, EOS, PAD, make_tokenizer
from tests.rm_core.text.encoders import text_encoder


def encoder(*, chat: bool = False, add_bos: bool = False, **more: Any) -> TextEncoder:
    return text_encoder(make_tokenizer(chat=chat, add_bos=add_bos), **more)


def test_without_a_template_prompt_and_response_are_concatenated() -> None:
    together = encoder().encode(Dialogue("ab", "cd")).input_ids

    assert together == encoder().encode(Dialogue("", "abcd")).input_ids
    assert len(together) == 4


def test_with_a_template_a_string_prompt_is_one_user_turn() -> None:
    tokenizer = make_tokenizer(chat=True)
    expected = tokenizer("<s><user>ab</s><assistant>cd</s>", add_special_tokens=False).input_ids

    as_string = encoder(chat=True).encode(Dialogue("ab", "cd"))
    as_messages = encoder(chat=True).encode(Dialogue((Message("user", "ab"),), "cd"))

    assert list(as_string.input_ids) == expected
    assert as_string == as_messages
    assert as_string.warnings == ()


def test_a_bos_in_the_text_is_not_doubled_by_the_tokenizer() -> None:
    encoded = encoder(add_bos=True).encode(Dialogue("<s>ab", "cd"))

    assert encoded.input_ids.count(BOS) == 1
    assert "double_bos" not in encoded.warnings


def test_a_text_that_brings_two_bos_is_scored_as_it_is_and_warned_of() -> None:
    encoded = encoder().encode(Dialogue("<s><s>ab", "cd"))

    assert encoded.input_ids[:2] == (BOS, BOS)
    assert "double_bos" in encoded.warnings


@pytest.mark.parametrize("prompt", ["ab", "<s>ab"])
@pytest.mark.parametrize("response", ["cd", "cd</s>"])
def test_if_absent_adds_bos_and_eos_exactly_once(prompt: str, response: str) -> None:
    encoded = encoder(bos="if_absent", eos="if_absent").encode(Dialogue(prompt, response))

    assert encoded.input_ids[0] == BOS
    assert encoded.input_ids[-1] == EOS
    assert encoded.input_ids.count(BOS) == encoded.input_ids.count(EOS) == 1
    assert encoded.num_prompt_tokens == 3


def test_a_missing_eos_is_warned_of() -> None:
    assert encoder().encode(Dialogue("ab", "cd")).warnings == ("missing_eos",)


def test_pad_equal_to_eos_is_read_before_the_final_eos_as_transformers_does() -> None:
    dialogue = Dialogue("ab", "cd</s>")

    assert encoder(pad=EOS).encode(dialogue).read_position == 3
    assert encoder(pad=EOS, read="last_token").encode(dialogue).read_position == 4
    assert encoder(pad=None).encode(dialogue).read_position == 4


def test_a_text_of_pads_only_is_read_at_its_first_token() -> None:
    assert encoder(pad=EOS).encode(Dialogue("", "</s></s>")).read_position == 0


@pytest.mark.parametrize("response", ["", " ", "\n\t\u3000"])
def test_a_blank_response_is_refused(response: str) -> None:
    with pytest.raises(EmptyText) as caught:
        encoder().encode(Dialogue("ab", response))

    assert caught.value.field == "response"


def test_too_long_is_an_error_by_default_and_tells_both_lengths() -> None:
    with pytest.raises(InputTooLong, match=r"12 tokens.*at most 10") as caught:
        encoder(max_length=10).encode(Dialogue("a" * 8, "bbbb"))

    assert caught.value.field == "prompt"


def test_truncation_cuts_the_prompts_left_and_keeps_bos_response_and_eos() -> None:
    encoded = encoder(add_bos=True, max_length=10, eos="if_absent").encode(
        Dialogue("12345678", "abcd"), truncate="prompt"
    )

    plain = encoder().encode(Dialogue("5678", "abcd")).input_ids
    assert encoded.input_ids == (BOS, *plain, EOS)
    assert encoded.num_prompt_tokens == 5
    assert "truncated" in encoded.warnings


def test_a_response_that_is_too_long_alone_can_not_be_truncated() -> None:
    with pytest.raises(InputTooLong) as caught:
        encoder(max_length=10).encode(Dialogue("ab", "c" * 11), truncate="prompt")

    assert caught.value.field == "response"


def test_a_huge_text_is_refused_before_it_is_tokenised() -> None:
    with pytest.raises(InputError, match="characters"):
        encoder(max_length=10).encode(Dialogue("", "x" * 641))


def test_a_huge_prompt_is_bounded_before_it_is_tokenised_and_then_cut() -> None:
    encoded = encoder(max_length=10).encode(Dialogue("p" * 100_000, "abcd"), truncate="prompt")

    assert encoded.input_ids == encoder().encode(Dialogue("pppppp", "abcd")).input_ids


def test_messages_without_a_template_are_refused() -> None:
    with pytest.raises(InvalidMessages, match="no chat template"):
        encoder().encode(Dialogue((Message("user", "ab"),), "cd"))


def test_a_template_that_raises_does_not_quote_the_messages() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ raise_exception(messages[0]['content']) }}"
    strict = TextEncoder(tokenizer, default_contract(tokenizer, max_length=64), pad_token_id=PAD)

    with pytest.raises(InvalidMessages) as caught:
        strict.encode(Dialogue("secret", "cd"))

    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


unicode_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(prompt=unicode_text, response=unicode_text.filter(lambda text: bool(text.strip())))
def test_any_valid_text_keeps_its_border_between_prompt_and_response(
    prompt: str, response: str
) -> None:
    encoded = encoder().encode(Dialogue(prompt, response))

    prompt_alone = encoder().encode(Dialogue(prompt, "x")).input_ids[:-1]
    assert encoded.input_ids[: encoded.num_prompt_tokens] == prompt_alone


@pytest.mark.parametrize("response", ["cd", "cd</s>"])
def test_an_eos_that_the_tokenizer_adds_is_not_doubled(response: str) -> None:
    tokenizer = make_tokenizer(add_eos=True)
    contract = default_contract(tokenizer, max_length=64)

    encoded = TextEncoder(tokenizer, contract, pad_token_id=PAD).encode(Dialogue("ab", response))

    assert encoded.input_ids.count(EOS) == 1
    assert encoded.num_prompt_tokens == 2


def test_the_contract_survives_json_and_names_a_wrong_field() -> None:
    contract = default_contract(make_tokenizer(chat=True), max_length=77)

    assert PositionContract.from_json(contract.to_json()) == contract
    assert contract.template_sha256 == template_digest(CHAT_TEMPLATE)
    with pytest.raises(InvalidManifest, match=r"position\.read"):
        PositionContract.from_json({**contract.to_json(), "read": "first"})
    with pytest.raises(InvalidManifest, match="unknown"):
        PositionContract.from_json({**contract.to_json(), "surprise": 1})


CHATML = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}"
    "{{ eos_token }}{{ '\n' }}{% endfor %}"
)


def test_a_closing_eos_is_the_texts_last_token_though_the_template_breaks_the_line() -> None:
    tokenizer = make_tokenizer(chat=True)
    tokenizer.chat_template = CHATML
    never = default_contract(tokenizer, max_length=200, read="last_token")
    rules: tuple[Any, ...] = ("never", "if_absent", "closing")
    encoders = {
        eos: TextEncoder(tokenizer, replace(never, eos=eos), pad_token_id=PAD) for eos in rules
    }
    dialogue = Dialogue("Hi", "Yo\n")

    ids = {eos: encoder.encode(dialogue).input_ids for eos, encoder in encoders.items()}

    line_break = tokenizer("\n", add_special_tokens=False)["input_ids"]
    assert ids["never"][-2:] == (EOS, *line_break)
    assert ids["if_absent"] == (*ids["never"], EOS)
    assert ids["closing"] == ids["never"][:-1]
    assert encoders["closing"].encode(dialogue).read_position == len(ids["closing"]) - 1


def test_a_closing_eos_is_added_once_to_plain_and_to_rendered_texts() -> None:
    tokenizer = make_tokenizer()
    contract = PositionContract("concatenate", "never", "closing", "last_token", 200)
    encoder = TextEncoder(tokenizer, contract, pad_token_id=PAD)

    plain = encoder.encode(Dialogue("a", "b\n\n"))
    rendered = [encoder.encode(RenderedText(text)) for text in ("ab", "ab\n", "ab</s>\n")]

    assert plain.input_ids == (*tokenizer("ab")["input_ids"], EOS)
    assert [encoded.input_ids for encoded in rendered] == [plain.input_ids] * 3


def test_places_are_told_also_where_line_breaks_were_left_out() -> None:
    contract = PositionContract("concatenate", "never", "closing", "last_token", 200)
    encoder = TextEncoder(make_tokenizer(), contract, pad_token_id=PAD)

    encoded = encoder.encode(Dialogue("a", "bc\n", read_at="tokens"))

    assert [place.text for place in encoded.extra_positions][:2] == ["b", "c"]
