"""Robustness: the effect of perturbed responses on rewards and on pair decisions.

A pair's decision is which response has the higher reward, or a tie. **Flipped**: both responses are
perturbed, and the decision is another. **Overturned**: only the response with the lower reward is,
and then it wins; that is what someone gains who games the score. A decision that becomes or
stops being a tie counts half. Responses that a perturbation leaves as they are count nowhere, and
neither do pairs of two such.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.data.examples import Example
from training.evaluation.accuracy import Accuracy, accuracy_of, credit_of
from training.evaluation.rewards import Rewards
from training.statistics.intervals import SHARE, Estimate, Floats, estimate

PerturbedRewards = Sequence[Sequence[float | None]]
"""Like `Rewards`; None where the perturbation changed nothing."""


@dataclass(frozen=True, slots=True)
class PerturbationFigures:
    """One perturbation's effect.

    Attributes:
        shift: mean of perturbed less unperturbed reward.
        shift_in_stds: the same over the unperturbed rewards' standard deviation; None where those
            are all equal.
        flipped: share of pair decisions that change when both responses are perturbed.
        overturned: share of pairs in which the response with the lower reward wins once it alone
            is perturbed; pairs tied before are left out.
        accuracy: with both perturbed, against people's preference.
        accuracy_before: of the same pairs, unperturbed.
    """

    shift: Estimate | None
    shift_in_stds: float | None
    flipped: Estimate | None
    overturned: Estimate | None
    accuracy: Accuracy | None
    accuracy_before: Accuracy | None


def perturbation_figures(
    examples: Sequence[Example], rewards: Rewards, perturbed: PerturbedRewards, *, seed: int = 0
) -> PerturbationFigures:
    """Effects of one perturbation."""
    shifts, shift_keys = _shifts(examples, rewards, perturbed)
    spread = float(np.std([reward for given in rewards for reward in given] or [0.0]))
    shift = estimate(shifts, shift_keys, seed=seed)
    before, after, alone, keys = _gaps(examples, rewards, perturbed)
    decided = np.flatnonzero(before != 0)
    return PerturbationFigures(
        shift=shift,
        shift_in_stds=shift.value / spread if shift is not None and spread > 0 else None,
        flipped=estimate(np.abs(credit_of(after) - credit_of(before)), keys, seed=seed, span=SHARE),
        overturned=estimate(
            credit_of(alone[decided]), [keys[index] for index in decided], seed=seed, span=SHARE
        ),
        accuracy=accuracy_of(after, keys, seed=seed) if keys else None,
        accuracy_before=accuracy_of(before, keys, seed=seed) if keys else None,
    )


def _shifts(
    examples: Sequence[Example], rewards: Rewards, perturbed: PerturbedRewards
) -> tuple[list[float], list[str]]:
    found = [
        (after - before, example.prompt_key)
        for example, given, changed in zip(examples, rewards, perturbed, strict=True)
        for before, after in zip(given, changed, strict=True)
        if after is not None
    ]
    return [shift for shift, _ in found], [key for _, key in found]


def _gaps(
    examples: Sequence[Example], rewards: Rewards, perturbed: PerturbedRewards
) -> tuple[Floats, Floats, Floats, list[str]]:
    """Of each pair with a perturbed response: three gaps, and its prompt.

    Chosen less rejected before and after, and the lead over the winner of the response that had the
    lower reward, once it alone is perturbed.
    """
    before: list[float] = []
    after: list[float] = []
    alone: list[float] = []
    keys: list[str] = []
    for example, given, changed in zip(examples, rewards, perturbed, strict=True):
        for pair in example.pairs:
            own = given[pair.chosen], given[pair.rejected]
            new = changed[pair.chosen], changed[pair.rejected]
            if new == (None, None):
                continue
            chosen, rejected = (old if n is None else n for old, n in zip(own, new, strict=True))
            before.append(own[0] - own[1])
            after.append(chosen - rejected)
            alone.append(rejected - own[0] if own[0] > own[1] else chosen - own[1])
            keys.append(example.prompt_key)
    return np.array(before), np.array(after), np.array(alone), keys
