"""What a reward model minimises: pure functions of rewards, nothing else.

All take rewards as float tensors of shape (pairs,) or (responses,) and compute in float32 or
better. `OBJECTIVES` is where a further pairwise objective is registered.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from rm_core.errors import ShapeMismatch
from training.records import Strength

MarginTable = Literal["none", "small", "large"]

MARGINS: Mapping[MarginTable, Mapping[Strength, float]] = {
    "none": {
        "significantly_better": 0.0,
        "better": 0.0,
        "slightly_better": 0.0,
        "negligibly_better": 0.0,
    },
    "small": {
        "significantly_better": 1.0,
        "better": 2 / 3,
        "slightly_better": 1 / 3,
        "negligibly_better": 0.0,
    },
    "large": {
        "significantly_better": 3.0,
        "better": 2.0,
        "slightly_better": 1.0,
        "negligibly_better": 0.0,
    },
}
"""Margin m(r) of each strength grade in reward units. Source: arXiv 2307.09288, Table 27."""


def bradley_terry_terms(chosen: Tensor, rejected: Tensor, margin: Tensor | float = 0.0) -> Tensor:
    """Negative log-likelihood of each pair: −log σ(chosen − rejected − margin).

    Computed as −logsigmoid, which stays finite where log(σ(x)) underflows.

    Args:
        chosen: rewards of preferred responses, (pairs,).
        rejected: rewards of the responses that they beat, (pairs,).
        margin: gap that is asked for, in reward units; a number or (pairs,).

    Returns:
        (pairs,), float32 or float64, in nats, ≥ 0.

    Raises:
        ShapeMismatch: not (pairs,) throughout; broadcasting (pairs,) against (pairs, 1) would
            silently compare every pair with every other.

    Source: arXiv 2203.02155 eq. 1 for K = 2; margin: arXiv 2307.09288 eq. 2.
    """
    _same_shape("chosen and rejected", chosen, rejected)
    if isinstance(margin, Tensor):
        _same_shape("margin and chosen", margin, chosen)
    gap = _precise(chosen) - _precise(rejected) - margin
    return -functional.logsigmoid(gap)


def bradley_terry_loss(chosen: Tensor, rejected: Tensor, margin: Tensor | float = 0.0) -> Tensor:
    """Mean of `bradley_terry_terms` over the pairs.

    Returns:
        Scalar, in nats; log 2 where every gap equals its margin.

    Raises:
        ShapeMismatch: see `bradley_terry_terms`; or no pairs at all.
    """
    terms = bradley_terry_terms(chosen, rejected, margin)
    if not terms.numel():
        raise ShapeMismatch("a loss over no pairs is undefined")
    return terms.mean()


def safety_auxiliary_loss(rewards: Tensor, is_safe: Tensor) -> Tensor:
    """Binary cross-entropy of σ(reward) against the safety label, over labelled responses.

    loss = −mean(y·log σ(r) + (1 − y)·log(1 − σ(r)))

    Our reading, not the paper's formula: LLaMA-2 §A.3.4 (arXiv 2307.09288, Table 29) says that an
    auxiliary safety loss raised the recall of unsafe responses, and does not write it out.

    Args:
        rewards: (responses,).
        is_safe: 1 safe, 0 unsafe, (responses,), any dtype.

    Returns:
        Scalar; 0 where there is no labelled response, with a gradient of 0.

    Raises:
        ShapeMismatch: the shapes differ.
    """
    _same_shape("is_safe and rewards", is_safe, rewards)
    rewards = _precise(rewards)
    if not rewards.numel():
        return rewards.sum()
    return functional.binary_cross_entropy_with_logits(rewards, is_safe.to(rewards.dtype))


PairTerms = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(chosen, rejected, margin), each (pairs,) → one loss term a pair, (pairs,)."""

OBJECTIVES: Mapping[str, PairTerms] = {"bradley_terry": bradley_terry_terms}
"""Pairwise objectives by the name that the training configuration uses."""


def _same_shape(names: str, first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape or first.dim() != 1:
        raise ShapeMismatch(
            f"{names} must both be (n,), found {tuple(first.shape)} and {tuple(second.shape)}"
        )


def _precise(rewards: Tensor) -> Tensor:
    """Half-precision rewards as float32; float64 stays, for gradient checks."""
    return rewards if rewards.dtype == torch.float64 else rewards.float()
