"""Rewards of a layout are those of transformers' own forward."""

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from rm_core.errors import ConfigurationError
from rm_core.types import Encoded
from training.batches.padded import PaddedLayout, pad_right
from training.modeling.reward_model import TrainableModel

TEXTS = [Encoded(tuple(range(5, 5 + n)), n - 1) for n in (7, 3, 9, 1)]
ENDS = [[text.num_tokens - 1] for text in TEXTS]


def test_rewards_at_the_end_are_transformers_own(start: TrainableModel) -> None:
    layout = PaddedLayout(start.pad_token_id)

    found = layout.rewards(start.model, layout.collate(TEXTS, ENDS))

    expected = start.model(**pad_right(TEXTS, start.pad_token_id)).logits.squeeze(-1)
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=1e-6)


def test_rewards_within_a_response_are_those_of_its_beginnings(
    start: TrainableModel,
) -> None:
    layout = PaddedLayout(start.pad_token_id)
    reads = [[2, 4, 6], [0], [1, 8], [0]]
    beginnings = [
        Encoded(text.input_ids[: at + 1], at)
        for text, own in zip(TEXTS, reads, strict=True)
        for at in own
    ]

    found = layout.rewards(start.model, layout.collate(TEXTS, reads))

    expected = start.model(**pad_right(beginnings, start.pad_token_id)).logits.squeeze(-1)
    assert torch.allclose(found, expected, atol=1e-6)


def test_attached_the_models_own_call_gives_rewards_and_detached_transformers_output(
    start: TrainableModel,
) -> None:
    layout = PaddedLayout(start.pad_token_id)
    inputs = layout.collate(TEXTS, ENDS)
    before = start.model(**pad_right(TEXTS, start.pad_token_id)).logits

    with layout.attached(start.model):
        called = start.model(**inputs)
        found = layout.rewards(start.model, inputs)

    assert torch.equal(called, found)
    assert torch.equal(start.model(**pad_right(TEXTS, start.pad_token_id)).logits, before)


def test_an_encoder_is_read_at_its_end_alone() -> None:
    config = BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=1,
        pad_token_id=0,
    )
    model = BertForSequenceClassification(config).eval()
    layout = PaddedLayout(0)
    inputs = layout.collate(TEXTS, ENDS)

    with layout.attached(model):
        found = layout.rewards(model, inputs)

    assert torch.equal(found, model(**pad_right(TEXTS, 0)).logits.squeeze(-1))
    with pytest.raises(ConfigurationError, match="last token"):
        layout.rewards(model, layout.collate(TEXTS, [[0], *ENDS[1:]]))
