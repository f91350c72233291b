"""Packed rewards and gradients are those of the padded layout, whoever stands in the pack."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import AutoConfig, AutoModelForSequenceClassification

from rm_core.types import Encoded
from tests.models import COMMON, DECODERS, PAD, make_model
from training.batches.packed import PackedLayout
from training.batches.padded import BatchLayout, PaddedLayout

Reads = Sequence[Sequence[int]]
PADDED = PaddedLayout(PAD)


def encoded(*texts: Sequence[int]) -> list[Encoded]:
    return [Encoded(tuple(text), len(text) - 1) for text in texts]


def ends(texts: Sequence[Encoded]) -> list[list[int]]:
    return [[text.read_position] for text in texts]


def run_of(start: int, length: int) -> list[int]:
    """Ids that repeat nothing within a text."""
    return [(start + 7 * i) % 250 for i in range(length)]


SYSTEM, FIRST, SECOND = run_of(0, 12), run_of(1, 40), run_of(2, 30)
BATCHES = {
    "two pairs": [
        FIRST + run_of(3, 9),
        FIRST + run_of(4, 20),
        SECOND + run_of(5, 14),
        SECOND + run_of(6, 5),
    ],
    "rankings under one system prompt": [
        SYSTEM + FIRST + run_of(3, 9),
        SYSTEM + FIRST + run_of(3, 4) + run_of(9, 12),  # begins as its neighbour does
        SYSTEM + FIRST + run_of(5, 30),
        SYSTEM + SECOND + run_of(6, 11),
        SYSTEM + SECOND + run_of(7, 3),
        SYSTEM + SECOND + run_of(6, 11),  # stands twice
    ],
    "nothing shared": [run_of(3, 20), run_of(4, 31), run_of(5, 2), run_of(6, 1)],
    "all shared": [FIRST, FIRST[:25], FIRST[:39], FIRST],
}


def tiny(architecture: str) -> Any:
    if architecture != "gemma3_text":
        model = make_model(architecture)
    else:
        torch.manual_seed(0)
        config = AutoConfig.for_model(
            architecture, **COMMON, num_key_value_heads=2, head_dim=8, sliding_window=16
        )
        model = AutoModelForSequenceClassification.from_config(config)
    if architecture == "mistral":
        model.config.sliding_window = 16  # reaches from a response into its prompt, not over it
    return model.train()


def loss_and_gradients(
    model: Any, layout: BatchLayout, texts: Sequence[Encoded], reads: Reads
) -> tuple[Tensor, dict[str, Tensor]]:
    """Of a loss in which every reward has a part of its own, by pairs of neighbours."""
    model.zero_grad(set_to_none=True)
    with layout.attached(model):
        rewards = layout.rewards(model, layout.collate(texts, reads))
        loss = -logsigmoid(rewards - rewards.roll(1)).mean() + 0.1 * rewards.square().mean()
        loss.backward()
    return loss.detach(), {n: p.grad for n, p in model.named_parameters()}


def assert_equal_training(
    model: Any, texts: Sequence[Encoded], reads: Reads, layout: BatchLayout | None = None
) -> None:
    expected_loss, expected = loss_and_gradients(model, PADDED, texts, reads)
    loss, found = loss_and_gradients(model, layout or PackedLayout(), texts, reads)

    assert abs(loss - expected_loss) <= 1e-5
    for name, gradient in expected.items():
        assert gradient is not None, name
        scale = max(1.0, float(gradient.abs().max()))
        assert float((found[name] - gradient).abs().max()) <= 1e-5 * scale, name


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("architecture", [*DECODERS, "gemma3_text"])
def test_loss_and_every_gradient_equal_the_padded_ones(architecture: str, batch: str) -> None:
    texts = encoded(*BATCHES[batch])

    assert_equal_training(tiny(architecture), texts, ends(texts))


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_reads_within_responses_have_their_gradients_too(architecture: str) -> None:
    texts = encoded(*BATCHES["rankings under one system prompt"])
    reads = [[0, 3, text.num_tokens // 2, text.read_position] for text in texts]
    reads[2] = [5]  # before the end: what follows does not count

    assert_equal_training(tiny(architecture), texts, reads)


@st.composite
def examples(draw: st.DrawFn) -> tuple[list[Encoded], list[list[int]]]:
    """Groups that share prompts, parts of prompts, or nothing, and up to three reads of each."""
    ids = st.lists(st.integers(0, 3), min_size=1, max_size=24)
    texts: list[list[int]] = []
    for _ in range(draw(st.integers(1, 3))):
        known = draw(st.sampled_from([*texts, []])) if texts else []
        prompt = known[: draw(st.integers(0, len(known)))] + draw(ids)
        texts += [prompt + draw(ids) for _ in range(draw(st.integers(1, 4)))]
    reads = [
        sorted(draw(st.sets(st.integers(0, len(text) - 1), min_size=1, max_size=3)))
        for text in texts
    ]
    return encoded(*texts), reads


@pytest.mark.parametrize("architecture", ["llama", "mistral"])
@settings(max_examples=25, deadline=None)
@given(batch=examples())
def test_any_batch_trains_as_its_padded_rows_do(
    architecture: str, batch: tuple[list[Encoded], list[list[int]]]
) -> None:
    model = tiny(architecture)
    if architecture == "mistral":
        model.config.sliding_window = 5

    assert_equal_training(model, *batch)


def test_a_batch_over_the_budget_is_cut_and_trains_the_same() -> None:
    texts = encoded(*BATCHES["rankings under one system prompt"], *BATCHES["two pairs"])
    layout = PackedLayout(max_pack_tokens=100)
    packs = layout.collate(texts, ends(texts))["packs"]

    assert len(packs) > 2
    assert all(pack.num_tokens <= 100 for pack in packs)
    assert_equal_training(tiny("llama"), texts, ends(texts), layout)


def test_a_response_over_the_budget_is_a_pack_of_its_own() -> None:
    texts = encoded(run_of(0, 50), run_of(1, 60), run_of(2, 3))

    packs = PackedLayout(max_pack_tokens=10).collate(texts, ends(texts))["packs"]

    assert [pack.num_tokens for pack in packs] == [50, 60, 3]


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_gradient_checkpointing_changes_nothing(architecture: str) -> None:
    texts = encoded(*BATCHES["rankings under one system prompt"])
    model = tiny(architecture)
    model.activation_checkpointing_enable()

    assert_equal_training(model, texts, ends(texts))


def test_prompts_are_computed_once() -> None:
    texts = encoded(*BATCHES["rankings under one system prompt"])

    inputs = PackedLayout().collate(texts, ends(texts))

    shared = len(SYSTEM + FIRST + SECOND)
    # The second response begins with four of the first one's tokens, too few to share.
    assert inputs["input_ids"].shape == (1, shared + 9 + 16 + 30 + 11 + 3)


def test_the_model_is_plain_transformers_again_afterwards() -> None:
    model = tiny("llama").eval()
    texts = encoded(*BATCHES["two pairs"])
    layout = PackedLayout()
    plain = {"input_ids": torch.tensor([texts[0].input_ids])}
    before, attention = model(**plain).logits, model.config._attn_implementation

    def train_and_fail() -> None:
        with layout.attached(model):
            inputs = layout.collate(texts, ends(texts))
            with layout.attached(model):
                rewards = layout.rewards(model, inputs)
            with PackedLayout().attached(model):
                pass
            assert torch.equal(layout.rewards(model, inputs), rewards)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train_and_fail()

    assert torch.equal(model(**plain).logits, before)
    assert model.config._attn_implementation == attention
    assert "forward" not in vars(model)
    assert "forward" not in vars(model.base_model.layers[-1])
