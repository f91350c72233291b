"""Rewards of encoded responses by a model that is in memory, as training holds it."""

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device

from rm_core.checkpoint.manifest import HeadKind
from rm_core.engine.packing.distinct import distinct_reads
from rm_core.engine.packing.policy import consecutive_packs
from rm_core.text.positions import response_positions
from rm_core.types import Encoded
from training.batches.choose import choose_layout
from training.batches.padded import BatchLayout
from training.data.examples import EncodedExample
from training.errors import TrainingDiverged


def score_examples(
    model: Any,
    comparisons: Sequence[EncodedExample],
    *,
    pad_token_id: int,
    head: HeadKind = "last_token",
    layout: BatchLayout | None = None,
    batch_tokens: int = 16_384,
) -> list[tuple[float, ...]]:
    """Rewards of every response, in the model's precision.

    Args:
        model: sequence-classification model with one label.
        comparisons: encoded responses.
        pad_token_id: the model's pad token.
        head: where a response's reward is read: its last token, or the mean over its tokens.
        layout: how texts go through the model; None: packed where it can, else padded.
        batch_tokens: most tokens in one forward pass, padding included, shared ones counted apart.

    Returns:
        For each comparison, one reward per response, in order.

    Raises:
        TrainingDiverged: a reward is not finite.
    """
    flat = [encoded for comparison in comparisons for encoded in comparison.encoded]
    reads = [
        list(response_positions(one)) if head == "mean" else [one.read_position] for one in flat
    ]
    layout = layout or choose_layout(model, pad_token_id).layout
    found = _rewards_at(model, flat, reads, layout, batch_tokens)
    remaining = iter(found)
    return [
        tuple(float(np.mean(next(remaining))) for _ in comparison.encoded)
        for comparison in comparisons
    ]


def score_steps(
    model: Any,
    comparisons: Sequence[EncodedExample],
    *,
    pad_token_id: int,
    layout: BatchLayout | None = None,
    batch_tokens: int = 16_384,
) -> list[tuple[tuple[float, ...], ...]]:
    """Rewards at the labelled steps of every response, in the model's precision.

    For each comparison what `step_targets` holds labels of, empty where it has none; the arguments
    are those of `score_examples`, and the model's head reads any token.

    Raises:
        TrainingDiverged: a reward is not finite.
    """
    stepped = [
        (encoded, [step.position for step in steps])
        for comparison in comparisons
        for encoded, steps in zip(comparison.encoded, comparison.step_targets, strict=False)
        if steps
    ]
    found = iter(
        _rewards_at(
            model,
            [encoded for encoded, _ in stepped],
            [positions for _, positions in stepped],
            layout or choose_layout(model, pad_token_id).layout,
            batch_tokens,
        )
    )
    return [
        tuple(tuple(next(found)) if steps else () for steps in comparison.step_targets)
        for comparison in comparisons
    ]


def _rewards_at(
    model: Any,
    encoded: Sequence[Encoded],
    reads: Sequence[Sequence[int]],
    layout: BatchLayout,
    batch_tokens: int,
) -> list[list[float]]:
    """Each response's rewards at the positions where it is read; equal responses run once."""
    once = distinct_reads(encoded, reads)
    rewards: list[list[float]] = [[] for _ in once.texts]
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    # Packed, responses stay beside those that share their prompt; padded, beside those as long.
    in_batches = consecutive_packs if layout.name == "packed" else _batches
    with torch.inference_mode(), layout.attached(model):
        for batch in in_batches([text.num_tokens for text in once.texts], batch_tokens):
            inputs = layout.collate([once.texts[i] for i in batch], [once.reads[i] for i in batch])
            values = layout.rewards(model, send_to_device(inputs, device))
            if not torch.isfinite(values).all():
                raise TrainingDiverged("the trained model gives rewards that are not finite")
            remaining = iter(values.tolist())
            for index in batch:
                rewards[index] = list(islice(remaining, len(once.reads[index])))
    model.train(was_training)
    found = iter(once.spread(list(chain.from_iterable(rewards))))
    return [list(islice(found, len(own))) for own in reads]


def _batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Indices in batches of similar length whose padded size stays within the budget."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    batches: list[list[int]] = []
    for index in order:
        longest = lengths[batches[-1][0]] if batches else 0
        if batches and (len(batches[-1]) + 1) * longest <= batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
