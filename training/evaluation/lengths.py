"""Length bias of rewards: correlation, accuracy by who is longer, accuracy at equal length.

**Strata.** Pairs whose chosen response is shorter, of similar length (within a tenth), or longer.
Their `balanced` mean weighs shorter and longer alike, so that a rule by length alone gets ½.

**At equal length.** Logistic regression of whether a pair is ordered right (½ for a tie) on the
length difference d in characters:

P(right) = σ(θ + φ · tanh(d / std(d)))

and the accuracy at equal length is σ(θ). The form is the length-controlled win rate's; there is no
term for the prompt's difficulty, as the pairs are people's and not two models'. Outcomes are drawn
in by half a right and half a wrong pair, which keeps θ finite where all pairs are right. The
interval is θ ± 1.96 robust standard errors by prompts.

Source: Dubois et al. 2024, arXiv:2404.04475 (length-controlled AlpacaEval).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata

from training.data.examples import Example
from training.evaluation.accuracy import Accuracy, accuracies_where, credit_of
from training.evaluation.rankings import correlation_estimate
from training.evaluation.rewards import PairTable, Rewards, length_of, pair_table
from training.statistics.intervals import (
    NORMAL_95,
    SHARE,
    Estimate,
    Floats,
    Interval,
    clusters,
    estimate,
    estimate_of_sums,
    honest_interval,
)
from training.statistics.logistic import fit_logistic

SIMILAR = 1.1
"""Pairs whose lengths differ by no more than this factor count as of similar length."""

MIN_PAIRS = 20

STRATA: Mapping[str, str] = {
    "chosen_shorter": "chosen is shorter",
    "similar": "similar length",
    "chosen_longer": "chosen is longer",
}


@dataclass(frozen=True, slots=True)
class LengthFigures:
    """Rewards against lengths in characters.

    Attributes:
        correlation: Spearman's ρ of reward and length over all responses.
        correlation_within: Pearson's of both as deviations from their prompt's mean, the length as
            its logarithm.
        chosen_longer: share of pairs whose chosen response is longer, ties half: what the data do.
        prefers_longer: share of pairs in which the longer response has the higher reward, ties
            half: what the scorer does.
        strata: accuracy by who is longer, for those that occur.
        balanced: mean of the accuracies where chosen is shorter and where it is longer.
        at_equal_length: accuracy at length difference 0; None of fewer than 20 pairs.
        length_effect: φ, in log-odds; 0 where length doesn't matter.
    """

    correlation: Estimate | None
    correlation_within: Estimate | None
    chosen_longer: Estimate | None
    prefers_longer: Estimate | None
    strata: Mapping[str, Accuracy]
    balanced: Estimate | None
    at_equal_length: Estimate | None
    length_effect: float | None


def length_figures(
    examples: Sequence[Example], rewards: Rewards, *, seed: int = 0
) -> LengthFigures | None:
    """Figures by length; None where there is no response."""
    if not any(example.responses for example in examples):
        return None
    values = np.array([reward for given in rewards for reward in given], dtype=np.float64)
    lengths = np.array(
        [length_of(t) for example in examples for t in example.responses], dtype=np.float64
    )
    keys = [example.prompt_key for example in examples for _ in example.responses]
    table = pair_table(examples, rewards)
    chosen, rejected = _pair_lengths(examples, table)
    longer = chosen - rejected
    at_equal, effect = _at_equal_length(table, longer)
    unequal = np.flatnonzero(longer)
    return LengthFigures(
        correlation=correlation_estimate(rankdata(values), rankdata(lengths), keys, seed=seed),
        correlation_within=_within_prompts(examples, rewards, seed),
        chosen_longer=estimate(credit_of(longer), table.keys, seed=seed, span=SHARE),
        prefers_longer=estimate(
            credit_of(table.gap[unequal] * longer[unequal]),
            [table.keys[index] for index in unequal],
            seed=seed,
            span=SHARE,
        ),
        strata=_strata(table, chosen, rejected, seed),
        balanced=_balanced(table, longer, seed),
        at_equal_length=at_equal,
        length_effect=effect,
    )


def _pair_lengths(examples: Sequence[Example], table: PairTable) -> tuple[Floats, Floats]:
    """Lengths of chosen and rejected, (pairs,) each."""
    lengths = [
        (
            length_of(examples[owner].responses[pair.chosen]),
            length_of(examples[owner].responses[pair.rejected]),
        )
        for owner, pair in zip(table.owners, table.pairs, strict=True)
    ]
    both = np.array(lengths, dtype=np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _strata(table: PairTable, chosen: Floats, rejected: Floats, seed: int) -> dict[str, Accuracy]:
    similar = np.maximum(chosen, rejected) <= SIMILAR * np.minimum(chosen, rejected)
    where = {
        "chosen_shorter": (chosen < rejected) & ~similar,
        "similar": similar,
        "chosen_longer": (chosen > rejected) & ~similar,
    }
    return accuracies_where(table.gap, table.keys, where, seed=seed)


def _balanced(table: PairTable, longer: Floats, seed: int) -> Estimate | None:
    """Mean of the accuracies on both sides of equal length; those of equal length are in none."""
    short, long = longer < 0, longer > 0
    if not (short.any() and long.any()):
        return None
    credit = credit_of(table.gap)
    terms = np.column_stack([credit * short, short, credit * long, long]).astype(np.float64)

    def balanced(sums: Floats) -> Floats:
        with np.errstate(invalid="ignore"):  # a resample without one of the sides is no figure
            means: Floats = (sums[:, 0] / sums[:, 1] + sums[:, 2] / sums[:, 3]) / 2
        return means

    count = int(short.sum() + long.sum())
    found = estimate_of_sums(terms, table.keys, balanced, count=count, seed=seed)
    if found.interval is None:
        return found
    # Of two sides the one of fewer prompts says how little is known.
    fewer = min(len({table.keys[i] for i in np.flatnonzero(side)}) for side in (short, long))
    return replace(found, interval=honest_interval(found.interval, SHARE, fewer))


def _at_equal_length(table: PairTable, longer: Floats) -> tuple[Estimate | None, float | None]:
    """The accuracy at length difference 0 and the length's effect φ."""
    pairs, prompts = len(longer), len(set(table.keys))
    if pairs < MIN_PAIRS or prompts < 2 or not longer.std() > 0:
        return None, None
    columns = np.column_stack([np.ones(pairs), np.tanh(longer / longer.std())])
    outcome = (pairs * credit_of(table.gap) + 0.5) / (pairs + 1)
    fit = fit_logistic(columns, outcome, clusters(table.keys))
    if fit is None:
        return None, None
    theta, error = float(fit.coefficients[0]), float(fit.standard_errors[0])
    spread = NORMAL_95 * error
    interval = Interval(float(expit(theta - spread)), float(expit(theta + spread)))
    return Estimate(float(expit(theta)), pairs, prompts, interval), float(fit.coefficients[1])


def _within_prompts(examples: Sequence[Example], rewards: Rewards, seed: int) -> Estimate | None:
    values: list[float] = []
    lengths: list[float] = []
    keys: list[str] = []
    for example, given in zip(examples, rewards, strict=True):
        if len(given) < 2:
            continue
        logs = np.log([length_of(text) for text in example.responses])
        values.extend(np.asarray(given) - np.mean(given))
        lengths.extend(logs - logs.mean())
        keys.extend([example.prompt_key] * len(given))
    return correlation_estimate(np.array(values), np.array(lengths), keys, seed=seed)
