"""Pairwise accuracy: the share of pairs that rewards order as people did, ties half."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from training.statistics.intervals import Floats, Interval, bootstrap_interval, wilson_interval


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Share of pairs whose chosen response got the higher reward; equal rewards count half.

    Attributes:
        value: the share.
        pairs: how many pairs it is over.
        ties: pairs with exactly equal rewards.
        wilson: interval that takes pairs for independent.
        bootstrap: interval from resampling whole prompts, which they come in; 0 to 1 where all
            pairs are of one prompt, which says nothing of others.
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
    """Accuracy of reward gaps, with both intervals.

    Args:
        gap: r_c − r_r, (pairs,), at least one; 0 is a tie and counts half.
        prompt_keys: the prompt of each pair.
        seed: of the bootstrap.
    """
    credit = credit_of(gap)
    one_prompt = len(set(prompt_keys)) == 1
    return Accuracy(
        value=float(credit.mean()),
        pairs=len(gap),
        ties=int((gap == 0).sum()),
        wilson=wilson_interval(float(credit.sum()), len(gap)),
        bootstrap=Interval(0.0, 1.0)
        if one_prompt
        else bootstrap_interval(credit, prompt_keys, seed=seed),
    )


def accuracy_where(
    gap: Floats, prompt_keys: Sequence[Hashable], keep: np.ndarray, *, seed: int = 0
) -> Accuracy | None:
    """Accuracy of some of the pairs; None where there are none.

    Args:
        gap: see `accuracy_of`.
        prompt_keys: see `accuracy_of`.
        keep: which pairs, (pairs,), bool.
        seed: of the bootstrap.
    """
    kept = np.flatnonzero(keep)
    if not kept.size:
        return None
    return accuracy_of(gap[kept], [prompt_keys[index] for index in kept.tolist()], seed=seed)


def credit_of(gap: Floats) -> Floats:
    """Credit of each pair: 1 ordered right, ½ a tie, 0 ordered wrong, (pairs,)."""
    return np.where(gap > 0, 1.0, np.where(gap == 0, 0.5, 0.0))
