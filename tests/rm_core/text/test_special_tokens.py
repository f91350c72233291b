"""Texts that somebody else rendered: read as they stand, BOS and EOS once, the right position."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification

from rm_core.engine import load_engine
from rm_core.errors import EmptyText, InputError, InputTooLong
from rm_core.text.encoder import TextEncoder
from rm_core.types import Dialogue, Message, RenderedText, TokenIds
from tests.models import BOS, CHAT_TEMPLATE, EOS, PAD, make_tokenizer, save_checkpoint
from tests.rewards import own_rewards
from tests.rm_core.text.encoders import text_encoder

RENDERED = "<s><user>ab</s><assistant>cd</s>"
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="<"), min_size=1, max_size=20)


def encoder(
    *,
    chat: bool = True,
    add_bos: bool = False,
    add_eos: bool = False,
    template: str | None = None,
    **more: Any,
) -> TextEncoder:
    tokenizer = make_tokenizer(chat=chat, add_bos=add_bos, add_eos=add_eos)
    if template is not None:
        tokenizer.chat_template = template
    return text_encoder(tokenizer, **more)


@given(TEXTS, TEXTS)
def test_a_rendered_dialogue_reads_like_the_dialogue(prompt: str, response: str) -> None:
    text = f"<s><user>{prompt}</s><assistant>{response}</s>"
    reader = encoder()

    try:
        expected = reader.encode(Dialogue(prompt, response))
    except EmptyText:
        return
    rendered = reader.encode(RenderedText(text))

    assert rendered.input_ids == expected.input_ids
    assert rendered.read_position == expected.read_position
    assert rendered.warnings == expected.warnings == ()


@pytest.mark.parametrize("text", [RENDERED, RENDERED.removeprefix("<s>")])
def test_a_bos_that_the_template_writes_is_put_back_where_a_client_stripped_it(text: str) -> None:
    encoded = encoder().encode(RenderedText(text))

    assert encoded == encoder().encode(RenderedText(RENDERED))
    assert encoded.input_ids[0] == BOS
    assert encoded.input_ids.count(BOS) == 1


@pytest.mark.parametrize("text", ["ab", "<s>ab", "ab</s>", "<s>ab</s>"])
@pytest.mark.parametrize("by_tokenizer", [True, False])
def test_what_the_contract_wants_around_a_text_is_there_exactly_once(
    text: str, by_tokenizer: bool
) -> None:
    if by_tokenizer:
        reader = encoder(chat=False, add_bos=True, add_eos=True)
    else:
        reader = encoder(chat=False, bos="if_absent", eos="if_absent")

    assert reader.encode(RenderedText(text)).input_ids == (BOS, ord("a") - 33, ord("b") - 33, EOS)


def test_nothing_is_added_where_the_caller_says_so() -> None:
    reader = encoder(bos="if_absent", eos="if_absent")

    encoded = reader.encode(RenderedText("ab", add_special_tokens=False))

    assert encoded.num_tokens == 2
    assert encoded.warnings == ("missing_eos",)


def test_a_template_without_bos_gets_none() -> None:
    reader = encoder(template=CHAT_TEMPLATE.removeprefix("{{ bos_token }}"), add_bos=True)

    assert BOS not in reader.encode(RenderedText("<user>ab</s>")).input_ids


def test_two_bos_in_the_text_are_the_callers_and_are_told() -> None:
    encoded = encoder().encode(RenderedText("<s><s><user>ab</s>"))

    assert encoded.input_ids[:2] == (BOS, BOS)
    assert encoded.warnings == ("double_bos",)


def test_the_border_is_found_through_a_bos_that_was_added() -> None:
    prompt = "<user>ab</s><assistant>"
    text = prompt + "cd</s>"

    encoded = encoder().encode(RenderedText(text, len(prompt)))

    assert encoded == encoder().encode(Dialogue("ab", "cd"))


def test_a_text_that_is_too_long_is_refused_or_loses_its_left() -> None:
    text = "<s>" + "p" * 20 + "r" * 5 + "</s>"
    reader = encoder(max_length=16)

    with pytest.raises(InputTooLong) as refused:
        reader.encode(RenderedText(text))
    cut = reader.encode(RenderedText(text), truncate="prompt")

    assert refused.value.field == "text"
    assert cut.num_tokens == 16
    assert (cut.input_ids[0], cut.input_ids[-1]) == (BOS, EOS)
    assert cut.input_ids[-6:-1] == (ord("r") - 33,) * 5
    assert cut.warnings == ("truncated",)


def test_a_response_that_alone_is_too_long_is_refused_where_the_border_is_known() -> None:
    text = "<s>pp" + "r" * 30

    with pytest.raises(InputTooLong):
        encoder(max_length=16).encode(RenderedText(text, len("<s>pp")), truncate="prompt")


def test_a_text_of_absurd_length_is_cut_before_it_is_tokenised() -> None:
    text = "p" * 10_000_000 + "rr</s>"
    reader = encoder(max_length=16)

    cut = reader.encode(RenderedText(text, 9_999_999), truncate="prompt")

    assert cut.num_tokens == 16
    assert cut.warnings == ("truncated",)
    with pytest.raises(InputError, match="characters"):
        reader.encode(RenderedText(text))


def test_max_tokens_keeps_bos_and_the_end() -> None:
    cut = encoder().encode(RenderedText(RENDERED, max_tokens=5))

    assert cut.input_ids == (BOS, *encoder().encode(RenderedText(RENDERED)).input_ids[-4:])
    assert cut.warnings == ("truncated",)
    assert encoder().encode(RenderedText(RENDERED, max_tokens=1)).input_ids == (EOS,)


def test_a_text_of_spaces_or_with_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(EmptyText):
        encoder().encode(RenderedText(" \n"))
    with pytest.raises(InputError, match="surrogate") as refused:
        encoder().encode(RenderedText("\ud800"))
    assert refused.value.field == "text"


def test_ids_are_read_exactly_as_given() -> None:
    reader = encoder(bos="if_absent", eos="if_absent")

    encoded = reader.encode(TokenIds((5, 6, PAD)))

    assert encoded.input_ids == (5, 6, PAD)
    assert encoded.read_position == 1
    assert encoded.warnings == ("missing_eos",)


@pytest.mark.parametrize("ids", [(), (-1,), (260,), (2**70,)])
def test_ids_that_the_tokenizer_does_not_know_are_refused(ids: tuple[int, ...]) -> None:
    with pytest.raises(InputError) as refused:
        encoder().encode(TokenIds(ids))
    assert refused.value.field == "ids"


@pytest.mark.parametrize("stop", ["</s>", "</s></s>", "</s>\n", "</s> </s>"])
def test_a_stop_token_left_on_the_response_is_not_doubled(stop: str) -> None:
    assert encoder().encode(Dialogue("ab", "cd" + stop)) == encoder().encode(Dialogue("ab", "cd"))


def test_a_templates_own_end_of_turn_is_a_stop_too() -> None:
    template = (
        "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>\n"
        "{% endfor %}"
    )
    reader = encoder(template=template)

    assert reader.encode(Dialogue("ab", "cd<|end|>")) == reader.encode(Dialogue("ab", "cd"))


@pytest.mark.parametrize("response", ["", " ", "</s>"])
def test_an_empty_response_is_judged_where_that_is_asked_for(response: str) -> None:
    reader = encoder()

    encoded = reader.encode(Dialogue("ab", response, allow_empty=True))

    tokens = make_tokenizer()
    assert tokens.decode(encoded.input_ids).startswith("<s><user>ab</s><assistant>")
    assert encoded.input_ids[-1] == EOS
    assert encoded.num_prompt_tokens is not None
    assert encoded.num_prompt_tokens < encoded.num_tokens
    with pytest.raises(EmptyText):
        reader.encode(Dialogue("ab", response))


def test_a_template_that_refuses_the_probe_leaves_the_rest_working() -> None:
    template = "{% for m in messages %}{% if m['role'] != 'judge' and m['role'] != 'assistant' %}"
    template += "{{ raise_exception('no') }}{% endif %}{{ m['content'] }}{% endfor %}"
    reader = encoder(template=template)

    assert reader.encode(Dialogue((Message("judge", "ab"),), "cd")).num_tokens == 4
    assert reader.encode(RenderedText("abcd")).num_tokens == 4


@pytest.mark.parametrize("pad_is_eos", [False, True])
def test_texts_and_ids_get_transformers_own_reward(tmp_path: Path, pad_is_eos: bool) -> None:
    tokenizer = make_tokenizer(chat=True, pad_is_eos=pad_is_eos)
    where = save_checkpoint(tmp_path / "rm", tokenizer=tokenizer)
    oracle: Any = AutoModelForSequenceClassification.from_pretrained(where)
    ids = tokenizer(RENDERED, add_special_tokens=False).input_ids
    with torch.no_grad():
        expected = oracle(torch.tensor([ids])).logits.item()
    engine = load_engine({"helpfulness": str(where)}, device="cpu")

    inputs = [
        Dialogue("ab", "cd</s>"),
        RenderedText(RENDERED),
        RenderedText(RENDERED.removeprefix("<s>")),
        TokenIds(tuple(ids)),
    ]
    rewards = own_rewards(engine, [engine.encode(one) for one in inputs])

    assert [reward["helpfulness"] for reward in rewards] == pytest.approx([expected] * 4, abs=1e-5)
