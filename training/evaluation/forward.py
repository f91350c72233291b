"""Rewards of encoded responses by a model that is in memory, as training holds it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from rm_core.types import Encoded
from training.comparisons import Comparison
from training.errors import TrainingDiverged
from training.layouts import pad_right


def score_comparisons(
    model: Any, comparisons: Sequence[Comparison], *, pad_token_id: int, batch_tokens: int = 16_384
) -> list[tuple[float, ...]]:
    """Rewards of every response, by transformers' own forward in the model's precision.

    Args:
        model: sequence-classification model with one label.
        comparisons: encoded responses.
        pad_token_id: the model's pad token.
        batch_tokens: most tokens in one forward pass, padding included.

    Returns:
        For each comparison, one reward per response, in order.

    Raises:
        TrainingDiverged: a reward is not finite.
    """
    flat = [encoded for comparison in comparisons for encoded in comparison.encoded]
    rewards = [0.0] * len(flat)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for batch in _batches(flat, batch_tokens):
            inputs = pad_right([flat[index] for index in batch], pad_token_id)
            output = model(**{name: tensor.to(device) for name, tensor in inputs.items()})
            values = output.logits.float().squeeze(-1).tolist()
            for index, value in zip(batch, values, strict=True):
                rewards[index] = value
    model.train(was_training)
    if not np.isfinite(rewards).all():
        raise TrainingDiverged("the trained model gives rewards that are not finite")
    remaining = iter(rewards)
    return [tuple(next(remaining) for _ in c.encoded) for c in comparisons]


def _batches(encoded: Sequence[Encoded], batch_tokens: int) -> list[list[int]]:
    """Indices in batches of similar length whose padded size stays within the budget."""
    order = sorted(range(len(encoded)), key=lambda index: -encoded[index].num_tokens)
    batches: list[list[int]] = []
    for index in order:
        longest = encoded[batches[-1][0]].num_tokens if batches else 0
        if batches and (len(batches[-1]) + 1) * longest <= batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
