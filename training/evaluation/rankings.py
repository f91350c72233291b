"""Rank correlation of rewards with rankings and ratings.

Within a prompt: Kendall's τ-b and Spearman's ρ, over prompts of three and more responses (of two,
τ is twice the accuracy less one), then the mean over prompts. Across prompts: Spearman's ρ of all
rated responses of one source, as ratings of different sources are not comparable.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau, rankdata, spearmanr

from training.data.examples import Example
from training.evaluation.rewards import Rewards, labelled
from training.statistics.intervals import (
    CORRELATION,
    Estimate,
    Floats,
    estimate,
    estimate_of_sums,
)

MIN_RESPONSES = 3


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """Agreement within lists of responses to one prompt, mean over lists.

    Attributes:
        kendall: τ-b.
        spearman: ρ.
        constant: lists whose rewards are all equal; they count as 0, so that a scorer gains nothing
            by giving up.
    """

    kendall: Estimate
    spearman: Estimate
    constant: int


@dataclass(frozen=True, slots=True)
class RankingFigures:
    """Rewards against rankings and ratings; each None where the data have none.

    Attributes:
        rankings: against ranks, within prompts.
        ratings: against ratings, within prompts.
        rated_sources: Spearman's ρ across the prompts of each source with ratings.
    """

    rankings: RankCorrelation | None
    ratings: RankCorrelation | None
    rated_sources: Mapping[str, Estimate]


def ranking_figures(
    examples: Sequence[Example], rewards: Rewards, *, seed: int = 0
) -> RankingFigures | None:
    """Compute all rank correlations; None where no example has a ranking of three or any rating."""
    figures = RankingFigures(
        rankings=_within(examples, rewards, quality_by_rank, seed),
        ratings=_within(examples, rewards, quality_by_rating, seed),
        rated_sources=_by_source(examples, rewards, seed),
    )
    if figures.rankings is None and figures.ratings is None and not figures.rated_sources:
        return None
    return figures


def quality_by_rank(example: Example) -> Floats | None:
    """Share of the other responses that each one beats, ties half, (responses,); random: ½.

    None where fewer than three are ranked, or all alike.
    """
    if (
        example.ranking is None
        or len(example.ranking) < MIN_RESPONSES
        or len(set(example.ranking)) == 1
    ):
        return None
    ranks = rankdata(example.ranking)
    quality: Floats = (len(ranks) - ranks) / (len(ranks) - 1)
    return quality


def quality_by_rating(example: Example) -> Floats | None:
    """The ratings, (responses,); None unless three and more are all rated, and not all alike."""
    ratings = [rating for rating in example.ratings if rating is not None]
    if len(ratings) < max(MIN_RESPONSES, len(example.responses)) or len(set(ratings)) == 1:
        return None
    return np.array(ratings, dtype=np.float64)


def rank_correlations(rewards: Sequence[float], quality: Floats) -> tuple[float, float]:
    """Kendall's τ-b and Spearman's ρ with qualities that differ; of rewards all equal, both 0."""
    if len(set(rewards)) == 1:
        return 0.0, 0.0
    tau = kendalltau(rewards, quality, method="asymptotic")  # no exact p-value is needed
    return float(tau.statistic), float(spearmanr(rewards, quality).statistic)


def correlation_estimate(
    x: Floats, y: Floats, prompt_keys: Sequence[str], *, seed: int
) -> Estimate | None:
    """Pearson's correlation with its interval by prompts; None where either is constant.

    Of ranks it is Spearman's: they are taken once and not in each resample.
    """
    if len(x) < MIN_RESPONSES or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    a, b = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    terms = np.column_stack([np.ones(len(a)), a, b, a * a, b * b, a * b])
    return estimate_of_sums(terms, prompt_keys, _correlation_of_sums, count=len(a), seed=seed)


def _correlation_of_sums(sums: Floats) -> Floats:
    """Correlation from n, Σa, Σb, Σa², Σb², Σab, (resamples, 6); NaN where one is constant."""
    n, a, b, aa, bb, ab = sums.T
    variances = (aa - a * a / n) * (bb - b * b / n)
    scale = np.sqrt(np.where(variances > 1e-18 * n * n, variances, np.nan))
    found: Floats = np.clip((ab - a * b / n) / scale, -1.0, 1.0)
    return found


def _within(
    examples: Sequence[Example],
    rewards: Rewards,
    quality_of: Callable[[Example], Floats | None],
    seed: int,
) -> RankCorrelation | None:
    kendall: list[float] = []
    spearman: list[float] = []
    keys: list[str] = []
    constant = 0
    for example, given in zip(examples, rewards, strict=True):
        quality = quality_of(example)
        if quality is None:
            continue
        constant += len(set(given)) == 1
        tau_b, rank_correlation = rank_correlations(given, quality)
        kendall.append(tau_b)
        spearman.append(rank_correlation)
        keys.append(example.prompt_key)
    tau, rho = (
        estimate(values, keys, seed=seed, span=CORRELATION) for values in (kendall, spearman)
    )
    return None if tau is None or rho is None else RankCorrelation(tau, rho, constant)


def _by_source(examples: Sequence[Example], rewards: Rewards, seed: int) -> dict[str, Estimate]:
    figures = {}
    for source in sorted(
        {example.source for example in examples if any(r is not None for r in example.ratings)}
    ):
        at = [index for index, example in enumerate(examples) if example.source == source]
        values, ratings, keys = labelled(
            [examples[index] for index in at],
            [rewards[index] for index in at],
            lambda example, index: example.ratings[index],
        )
        found = correlation_estimate(rankdata(values), rankdata(ratings), keys, seed=seed)
        if found is not None:
            figures[source] = found
    return figures
