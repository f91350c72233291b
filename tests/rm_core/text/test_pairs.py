"""Prompt and response as two segments: transformers' own forward of `tokenizer(q, a)`."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rm_core.engine import load_engine
from rm_core.errors import ConfigurationError, DetailUnavailable, InputError, InputTooLong
from rm_core.text.contract import ContractOverrides, default_contract
from rm_core.text.encoder import TextEncoder
from rm_core.types import Dialogue, Message, RenderedText, TokenIds
from tests.models import PAD, make_tokenizer, save_checkpoint
from tests.rewards import own_rewards
from tests.rm_core.text.encoders import pair_tokenizer, text_encoder

PAIR = ContractOverrides(rendering="pair")
PAIRS = [("Is 27 prime?", "No: 27 = 3 × 9."), ("a", "b"), ("Who?", ""), ("x" * 90, "y" * 60)]


def encoder(**more: Any) -> TextEncoder:
    return text_encoder(pair_tokenizer(), rendering="pair", **more)


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2"])
def test_pairs_get_transformers_own_reward_in_any_company(
    tmp_path: Path, architecture: str
) -> None:
    where = str(
        save_checkpoint(tmp_path, architecture, tokenizer=pair_tokenizer(), type_vocab_size=2)
    )
    model: Any = AutoModelForSequenceClassification.from_pretrained(where)
    tokenizer = AutoTokenizer.from_pretrained(where)
    with torch.no_grad():
        expected, one_segment = (
            [float(model(**each).logits) for each in inputs]
            for inputs in (
                [tokenizer(q, a, return_tensors="pt") for q, a in PAIRS],
                [tokenizer(q + a, return_tensors="pt") for q, a in PAIRS],
            )
        )
    engine = load_engine({"helpfulness": where}, device="cpu", overrides={"helpfulness": PAIR})

    items = [engine.encode(Dialogue(q, a, allow_empty=True)) for q, a in PAIRS]
    found = [own["helpfulness"] for own in own_rewards(engine, items)]
    alone = [own_rewards(engine, [item])[0]["helpfulness"] for item in items]

    assert found == pytest.approx(expected, abs=1e-5)
    assert alone == pytest.approx(expected, abs=1e-5)
    assert max(abs(a - b) for a, b in zip(expected, one_segment, strict=True)) > 1e-3
    assert engine.describe()["helpfulness"]["position"]["rendering"] == "pair"


def test_one_user_turn_and_a_text_of_a_known_border_are_pairs_too() -> None:
    reader = encoder()
    expected = reader.encode(Dialogue("ab", "cd"))

    assert reader.encode(Dialogue((Message("user", "ab"),), "cd")) == expected
    assert reader.encode(RenderedText("abcd", 2)) == expected
    assert reader.encode(Dialogue("ab", "cd<|im_end|>", stops=("<|im_end|>",))) == expected
    assert expected.num_prompt_tokens == len("<ab<")
    assert expected.token_types == (0, 0, 0, 0, 1, 1, 1)


@pytest.mark.parametrize(
    "given",
    [
        RenderedText("abcd"),
        TokenIds((1, 2)),
        Dialogue((Message("system", "s"), Message("user", "ab")), "cd"),
    ],
)
def test_what_is_no_pair_is_refused_by_name(given: Any) -> None:
    with pytest.raises(InputError, match="pair"):
        encoder().encode(given)


def test_a_long_prompt_loses_its_first_tokens_and_keeps_every_special_one() -> None:
    reader = encoder(max_length=10)

    cut = reader.encode(Dialogue("p" * 20, "abc"), truncate="prompt")
    left = reader.encode(Dialogue("p" * 20, "abcdefghij"), truncate="left")

    tokens = make_tokenizer()
    assert tokens.decode(cut.input_ids) == "<s>pppp</s>abc</s>"
    assert (cut.warnings, cut.num_prompt_tokens) == (("truncated",), 6)
    assert tokens.decode(left.input_ids) == "<s></s>defghij</s>"
    assert left.token_types == (0, 0, 1, 1, 1, 1, 1, 1, 1, 1)
    assert left.warnings == ("truncated", "response_truncated")
    for response, truncate, field in (("abc", "error", "prompt"), ("a" * 9, "prompt", "response")):
        with pytest.raises(InputTooLong) as refused:
            reader.encode(Dialogue("p" * 20, response), truncate=truncate)  # type: ignore[arg-type]
        assert refused.value.field == field


def test_a_pair_is_read_as_a_whole() -> None:
    with pytest.raises(DetailUnavailable, match="pair"):
        encoder().encode(Dialogue("ab", "cd", read_at="tokens"))


def test_a_tokenizer_of_pairs_is_a_hint_where_nobody_said_how_it_reads() -> None:
    plain = text_encoder(pair_tokenizer())

    (note,) = plain.notes(is_assumed=True)
    assert "rendering to pair" in note
    assert plain.notes(is_assumed=False) == encoder().notes(is_assumed=True) == ()
    assert text_encoder(make_tokenizer(add_bos=True)).notes(is_assumed=True) == ()


def test_overrides_change_what_they_name() -> None:
    chat, plain = make_tokenizer(chat=True), make_tokenizer()
    contract = default_contract(chat, max_length=64)

    joined = ContractOverrides(rendering="concatenate").applied_to(contract, chat)

    assert (joined.rendering, joined.bos, joined.template_sha256) == (
        "concatenate",
        "tokenizer",
        None,
    )
    assert ContractOverrides().applied_to(contract, chat) == contract
    assert ContractOverrides(rendering="chat").applied_to(joined, chat) == contract
    with pytest.raises(ConfigurationError, match="no chat template"):
        ContractOverrides(rendering="chat").applied_to(joined, plain)


def test_ids_beyond_the_tokenizers_are_read_where_the_model_knows_them() -> None:
    tokenizer = make_tokenizer()
    contract = default_contract(tokenizer, max_length=64)
    reader = TextEncoder(tokenizer, contract, pad_token_id=PAD, embedding_rows=320)

    assert reader.encode(TokenIds((5, 319))).input_ids == (5, 319)
    with pytest.raises(InputError, match="from 0 to 319"):
        reader.encode(TokenIds((320,)))


def test_such_ids_get_transformers_own_reward(tmp_path: Path) -> None:
    where = str(save_checkpoint(tmp_path))
    engine = load_engine({"safety": where}, device="cpu")
    model: Any = AutoModelForSequenceClassification.from_pretrained(where)
    with torch.no_grad():
        expected = float(model(torch.tensor([[5, 300, 319]])).logits)

    (found,) = own_rewards(engine, [engine.encode(TokenIds((5, 300, 319)))])

    assert found["safety"] == pytest.approx(expected, abs=1e-5)
