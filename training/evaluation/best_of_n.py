"""Best of n: the expected quality of the response with the highest reward among n.

For each prompt with K responses of known quality, and each n from 1 to K: the expected quality of
the response with the highest reward among n drawn without replacement, exactly, over all C(K, n)
draws; beside it a random pick and the best pick there is. Equal rewards share the pick.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from training.data.examples import Example
from training.evaluation.rankings import quality_by_rank, quality_by_rating
from training.evaluation.rewards import Rewards
from training.statistics.intervals import Estimate, Floats, estimate


@dataclass(frozen=True, slots=True)
class BestOfNPoint:
    """Best of n, mean over the prompts with at least n responses.

    Attributes:
        n: responses to choose from.
        picked: quality of the response with the highest reward.
        random: of a random one.
        oracle: of the best one.
    """

    n: int
    picked: Estimate
    random: float
    oracle: float


@dataclass(frozen=True, slots=True)
class BestOfN:
    """Curves over n; empty where the data have no such quality.

    Attributes:
        by_rank: quality is the share of the other responses beaten, ties half; random is ½.
        by_rating: quality is the rating.
    """

    by_rank: tuple[BestOfNPoint, ...]
    by_rating: tuple[BestOfNPoint, ...]


def best_of_n(examples: Sequence[Example], rewards: Rewards, *, seed: int = 0) -> BestOfN | None:
    """Both curves; None where no example has three responses of known quality."""
    curves = BestOfN(
        by_rank=_curve(examples, rewards, quality_by_rank, seed),
        by_rating=_curve(examples, rewards, quality_by_rating, seed),
    )
    return curves if curves.by_rank or curves.by_rating else None


def expected_quality(rewards: ArrayLike, quality: ArrayLike) -> Floats:
    """Expected quality of the pick among n, by reward, for n = 1 … K, (K,).

    A group of t responses with equal rewards, b others below it, gives the pick with probability
    [C(b + t, n) − C(b, n)] / C(K, n), and each of the t alike.
    """
    values, worth = np.asarray(rewards), np.asarray(quality, dtype=np.float64)
    _, group, size = np.unique(values, return_inverse=True, return_counts=True)
    mean_quality = np.bincount(group, weights=worth) / size
    within = _share_of_draws_within(len(values))
    up_to = np.cumsum(size)
    picked = within[up_to] - within[up_to - size]  # (groups, K)
    expected: Floats = mean_quality @ picked
    return expected


@lru_cache(maxsize=64)
def _share_of_draws_within(count: int) -> Floats:
    """C(m, n) / C(K, n): share of draws of n that fall among m given ones, (K + 1, K)."""
    m = np.arange(count + 1)[:, None]
    i = np.arange(count)[None, :]
    factors = np.maximum(m - i, 0) / (count - i)
    shares: Floats = np.cumprod(factors, axis=1)
    return shares


def _curve(
    examples: Sequence[Example],
    rewards: Rewards,
    quality_of: Callable[[Example], Floats | None],
    seed: int,
) -> tuple[BestOfNPoint, ...]:
    found = [
        (example.prompt_key, expected_quality(given, quality), quality)
        for example, given in zip(examples, rewards, strict=True)
        if (quality := quality_of(example)) is not None
    ]
    points = []
    for n in range(1, max((len(quality) for *_, quality in found), default=0) + 1):
        enough = [entry for entry in found if len(entry[2]) >= n]
        picked = estimate(
            [curve[n - 1] for _, curve, _ in enough], [key for key, *_ in enough], seed=seed
        )
        if picked is not None:
            oracle = [expected_quality(quality, quality)[n - 1] for *_, quality in enough]
            points.append(
                BestOfNPoint(
                    n=n,
                    picked=picked,
                    random=float(np.mean([quality.mean() for *_, quality in enough])),
                    oracle=float(np.mean(oracle)),
                )
            )
    return tuple(points)
