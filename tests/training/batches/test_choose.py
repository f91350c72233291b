"""A model is packed where that gives its own rewards, else padded, and the reason is said."""

from typing import Any

import pytest
import torch

from rm_core.errors import ConfigurationError
from tests.models import DECODERS, PAD, make_model
from tests.rm_core.engine.tiny_models import classes, tiny_config, tiny_model
from training.batches import packed as packed_layout
from training.batches.choose import choose_layout
from training.batches.packed import PackedLayout


@pytest.mark.parametrize("architecture", DECODERS)
def test_decoders_are_packed(architecture: str) -> None:
    model = make_model(architecture).train()

    chosen = choose_layout(model, PAD)

    assert chosen.layout.name == "packed"
    assert chosen.to_json() == {"name": "packed", "reason": "decoder with replaceable attention"}
    assert model.training


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2"])
def test_encoders_are_padded(architecture: str) -> None:
    chosen = choose_layout(make_model(architecture), PAD)

    assert chosen.layout.name == "padded"
    assert "not a decoder" in chosen.reason


def test_packing_can_be_switched_off() -> None:
    chosen = choose_layout(make_model("llama"), PAD, packing=False)

    assert chosen.to_json() == {"name": "padded", "reason": "packing is switched off"}


@pytest.mark.parametrize(
    ("architecture", "options"),
    [("llama", {"attention_dropout": 0.1}), ("gpt2", {"attn_pdrop": 0.1})],
)
def test_attention_dropout_is_not_lost(architecture: str, options: dict[str, float]) -> None:
    chosen = choose_layout(make_model(architecture, **options), PAD)

    assert chosen.layout.name == "padded"
    assert "disable_dropout" in chosen.reason


def test_a_model_whose_packed_rewards_differ_is_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    read = packed_layout.read_head

    def wrong(model: Any, hidden: torch.Tensor) -> torch.Tensor:
        return read(model, hidden) + 0.01

    monkeypatch.setattr(packed_layout, "read_head", wrong)
    chosen = choose_layout(make_model("llama"), PAD)

    assert chosen.layout.name == "padded"
    assert "differ by" in chosen.reason


def test_a_model_that_can_not_be_run_packed_is_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise TypeError("unexpected keyword")

    monkeypatch.setattr(packed_layout.TransformersTrunk, "__call__", broken)
    model = make_model("llama")
    attention = model.config._attn_implementation
    chosen = choose_layout(model, PAD)

    assert "raised TypeError" in chosen.reason
    assert model.config._attn_implementation == attention


def test_the_budget_reaches_the_layout() -> None:
    chosen = choose_layout(make_model("llama"), PAD, max_pack_tokens=5)

    assert isinstance(chosen.layout, PackedLayout)
    assert chosen.layout.max_pack_tokens == 5


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("XLNetForSequenceClassification", "padded rewards differ"),
        ("FNetForSequenceClassification", "padded rewards differ"),
        ("BigBirdForSequenceClassification", "padded rewards differ"),
        ("T5GemmaForSequenceClassification", "raised ValueError"),
    ],
)
def test_a_model_that_pays_heed_to_company_is_not_trained(name: str, why: str) -> None:
    model = tiny_model(tiny_config(classes()[name])).train()

    with pytest.raises(ConfigurationError, match=why):
        choose_layout(model, model.config.pad_token_id)
    assert model.training


def test_a_model_that_remembers_texts_is_not_trained() -> None:
    config = tiny_config(classes()["BigBirdForSequenceClassification"])
    config.block_size = 64  # as published: the trial's texts are all short for it

    with pytest.raises(ConfigurationError, match="keeps something of the texts before"):
        choose_layout(tiny_model(config), config.pad_token_id)


@pytest.mark.parametrize("name", ["Roberta", "Bart", "DistilBert"])
def test_models_with_little_room_or_an_own_place_to_read_are_padded(name: str) -> None:
    model = tiny_model(tiny_config(classes()[f"{name}ForSequenceClassification"]))

    assert choose_layout(model, model.config.pad_token_id).layout.name == "padded"
