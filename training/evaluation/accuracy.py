"""Pairwise accuracy: the share of pairs that rewards order as people did, ties half."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from training.statistics.intervals import (
    SHARE,
    Floats,
    Interval,
    bootstrap_interval,
    wilson_interval,
)

Name = TypeVar("Name", bound=str)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Share of pairs whose chosen response got the higher reward; equal rewards count half.

    Attributes:
        value: the share.
        pairs: how many pairs it is over.
        ties: pairs with exactly equal rewards.
        wilson: interval that takes pairs for independent.
        bootstrap: interval from resampling whole prompts, which they come in; Wilson's of the
            prompts at 0 and 1, and 0 to 1 where all pairs are of one prompt, which says
            nothing of others.
    """

    value: float
    pairs: int
    ties: int
    wilson: Interval
    bootstrap: Interval

    @property
    def excludes_chance(self) -> bool:
        """Whether 50 % lies outside the interval by prompts."""
        return not self.bootstrap.low <= 0.5 <= self.bootstrap.high


def accuracy_of(gap: Floats, prompt_keys: Sequence[Hashable], *, seed: int = 0) -> Accuracy:
    """Accuracy of at least one pair's reward gap r_c − r_r, with both intervals."""
    credit = credit_of(gap)
    one_prompt = len(set(prompt_keys)) == 1
    return Accuracy(
        value=float(credit.mean()),
        pairs=len(gap),
        ties=int((gap == 0).sum()),
        wilson=wilson_interval(float(credit.sum()), len(gap)),
        bootstrap=SHARE
        if one_prompt
        else bootstrap_interval(credit, prompt_keys, seed=seed, span=SHARE),
    )


def accuracy_where(
    gap: Floats, prompt_keys: Sequence[Hashable], keep: np.ndarray, *, seed: int = 0
) -> Accuracy | None:
    """Accuracy of some of the pairs; None where there are none."""
    kept = np.flatnonzero(keep)
    if not kept.size:
        return None
    return accuracy_of(gap[kept], [prompt_keys[index] for index in kept.tolist()], seed=seed)


def accuracies_where(
    gap: Floats, prompt_keys: Sequence[Hashable], parts: Mapping[Name, np.ndarray], *, seed: int
) -> dict[Name, Accuracy]:
    """Accuracy of each part of the pairs by its name, of those that have any."""
    found = {
        name: accuracy_where(gap, prompt_keys, keep, seed=seed) for name, keep in parts.items()
    }
    return {name: accuracy for name, accuracy in found.items() if accuracy is not None}


def credit_of(gap: Floats) -> Floats:
    """Credit of each pair: 1 ordered right, ½ a tie, 0 ordered wrong, (pairs,)."""
    return np.where(gap > 0, 1.0, np.where(gap == 0, 0.5, 0.0))
