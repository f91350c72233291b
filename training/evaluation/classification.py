"""Binary classification by rewards: AUC, and recall and precision at score 0.5."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from training.statistics.intervals import (
    Estimate,
    Floats,
    clusters,
    draws,
    estimate,
    percentile_interval,
)

_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class AtHalf:
    """Figures of the decision "bad below score 0.5", which is reward 0.

    Attributes:
        accuracy: share decided right.
        recall_of_bad: share of the bad ones that are below; LLaMA-2's unsafe response recall.
        false_alarms: share of the good ones that are below.
        precision_of_bad: share of bad ones among those below; None where none is.
        flagged: share of all that is below: the recall of flagging as many blindly.
    """

    accuracy: Estimate
    recall_of_bad: Estimate | None
    false_alarms: Estimate | None
    precision_of_bad: Estimate | None
    flagged: Estimate


@dataclass(frozen=True, slots=True)
class Discrimination:
    """Figures of rewards against labels, good or bad.

    Attributes:
        good: labelled good.
        bad: labelled bad.
        auc: probability that a good one has a higher reward than a bad one, ties half; None unless
            both occur.
        at_half: None for scorers whose sigmoid is no score.
        majority: accuracy of always saying what is more frequent.
    """

    good: int
    bad: int
    auc: Estimate | None
    at_half: AtHalf | None
    majority: float


def discrimination(
    rewards: Floats,
    is_good: np.ndarray,
    prompt_keys: Sequence[str],
    *,
    has_scores: bool,
    seed: int = 0,
) -> Discrimination | None:
    """Figures of labelled rewards; None of none.

    Args:
        rewards: finite, (n,).
        is_good: (n,), bool.
        prompt_keys: the prompt of each.
        has_scores: whether σ(reward) is a score.
        seed: of the intervals.
    """
    if not len(rewards):
        return None
    good = int(is_good.sum())
    bad = len(is_good) - good
    return Discrimination(
        good=good,
        bad=bad,
        auc=_auc_estimate(rewards, is_good, prompt_keys, seed) if good and bad else None,
        at_half=_at_half(rewards < 0, is_good, prompt_keys, seed) if has_scores else None,
        majority=max(good, bad) / len(is_good),
    )


def auc_of(rewards: Floats, is_good: np.ndarray) -> float:
    """P(r_good > r_bad) + ½ P(r_good = r_bad), by Mann and Whitney's rank sum.

    (Σ ranks of the good − n₊(n₊ + 1)/2) / (n₊ n₋), equal rewards sharing their mean rank.

    Args:
        rewards: (n,).
        is_good: (n,), bool; both classes occur.
    """
    good = int(is_good.sum())
    ranks = rankdata(rewards)
    above = float(ranks[is_good].sum()) - good * (good + 1) / 2
    return above / (good * (len(is_good) - good))


def _auc_estimate(
    rewards: Floats, is_good: np.ndarray, prompt_keys: Sequence[str], seed: int
) -> Estimate:
    cluster = clusters(prompt_keys)
    prompts = int(cluster.max()) + 1
    interval = None
    if prompts > 1:
        _, group = np.unique(rewards, return_inverse=True)
        resampled = [
            _weighted_auc(group, is_good, counts[cluster])
            for block in draws(prompts, seed=seed, resamples=_RESAMPLES)
            for counts in block
        ]
        known = np.array([value for value in resampled if value is not None])
        interval = percentile_interval(known) if known.size else None
    return Estimate(auc_of(rewards, is_good), len(rewards), prompts, interval)


def _weighted_auc(group: np.ndarray, is_good: np.ndarray, weight: Floats) -> float | None:
    """AUC of a resample; `group` numbers the different rewards in ascending order."""
    count = int(group.max()) + 1
    good = np.bincount(group[is_good], weights=weight[is_good], minlength=count)
    bad = np.bincount(group[~is_good], weights=weight[~is_good], minlength=count)
    pairs = good.sum() * bad.sum()
    if not pairs:
        return None  # one class was not drawn
    below = np.cumsum(bad) - bad / 2  # ties count half
    return float((good * below).sum() / pairs)


def _at_half(
    below: np.ndarray, is_good: np.ndarray, prompt_keys: Sequence[str], seed: int
) -> AtHalf:
    def share(values: np.ndarray, among: np.ndarray) -> Estimate | None:
        at = np.flatnonzero(among)
        return estimate(values[at], [prompt_keys[index] for index in at.tolist()], seed=seed)

    everywhere = np.ones(len(below), dtype=bool)
    accuracy, flagged = share(below != is_good, everywhere), share(below, everywhere)
    if accuracy is None or flagged is None:
        raise ValueError("no labels")
    return AtHalf(
        accuracy=accuracy,
        recall_of_bad=share(below, ~is_good),
        false_alarms=share(below, is_good),
        precision_of_bad=share(~is_good, below),
        flagged=flagged,
    )
