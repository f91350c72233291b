"""Binary classification by rewards: AUC, and recall and precision at score 0.5."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.statistics.intervals import (
    SHARE,
    Estimate,
    Floats,
    clusters,
    draws,
    estimate,
    honest_interval,
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
    """Figures of labelled rewards; None of none."""
    if not len(rewards):
        return None
    good = int(is_good.sum())
    bad = len(is_good) - good
    return Discrimination(
        good=good,
        bad=bad,
        auc=_auc_estimate(rewards, is_good, prompt_keys, seed),
        at_half=_at_half(rewards < 0, is_good, prompt_keys, seed) if has_scores else None,
        majority=max(good, bad) / len(is_good),
    )


def _auc_estimate(
    rewards: Floats, is_good: np.ndarray, prompt_keys: Sequence[str], seed: int
) -> Estimate | None:
    _, group = np.unique(rewards, return_inverse=True)
    auc = _auc(group, is_good, np.ones(len(rewards)))
    if auc is None:
        return None
    cluster = clusters(prompt_keys)
    prompts = int(cluster.max()) + 1
    interval = None
    if prompts > 1:
        resampled = [
            _auc(group, is_good, counts[cluster])
            for block in draws(prompts, seed=seed, resamples=_RESAMPLES)
            for counts in block
        ]
        known = np.array([value for value in resampled if value is not None])
        # Of two classes the rarer one says how little is known.
        rarer = min(len(set(cluster[is_good])), len(set(cluster[~is_good])))
        interval = honest_interval(percentile_interval(known), SHARE, rarer) if known.size else None
    return Estimate(auc, len(rewards), prompts, interval)


def _auc(group: np.ndarray, is_good: np.ndarray, weight: Floats) -> float | None:
    """P(r_good > r_bad) + ½ P(r_good = r_bad) of weighted rewards; None unless both classes occur.

    Args:
        group: numbers the different rewards in ascending order, (n,).
        is_good: (n,), bool.
        weight: how often each was drawn, (n,).
    """
    count = int(group.max()) + 1
    good = np.bincount(group[is_good], weights=weight[is_good], minlength=count)
    bad = np.bincount(group[~is_good], weights=weight[~is_good], minlength=count)
    pairs = good.sum() * bad.sum()
    if not pairs:
        return None
    below = np.cumsum(bad) - bad / 2  # ties count half
    return float((good * below).sum() / pairs)


def _at_half(
    below: np.ndarray, is_good: np.ndarray, prompt_keys: Sequence[str], seed: int
) -> AtHalf:
    def share(values: np.ndarray, among: np.ndarray) -> Estimate | None:
        at = np.flatnonzero(among)
        keys = [prompt_keys[index] for index in at.tolist()]
        return estimate(values[at], keys, seed=seed, span=SHARE)

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
