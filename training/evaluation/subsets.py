"""Accuracy per subset and per section, every prompt weighing the same, as RewardBench reports it.

A section's figure is the mean over the prompts of its subsets, and the average is the mean over
sections, however large they are. Without sections the average is over subsets.

Source: Lambert et al. 2024, arXiv:2403.13787 (sections weighted by prompts, their plain mean).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from training.data.examples import Example
from training.evaluation.accuracy import Accuracy, accuracies_where, credit_of
from training.evaluation.rewards import PairTable, Rewards, pair_table
from training.statistics.intervals import (
    SHARE,
    Estimate,
    Floats,
    Interval,
    bootstrap_by_prompt,
    estimate_by_prompt,
    percentile_interval,
)

Grouping = Literal["source", "tag"]


@dataclass(frozen=True, slots=True)
class Subset:
    """One subset's figures.

    Attributes:
        accuracy: over its pairs, each weighing the same.
        by_prompt: each prompt weighing the same.
    """

    accuracy: Accuracy
    by_prompt: Estimate


@dataclass(frozen=True, slots=True)
class SubsetFigures:
    """Figures by subset.

    Attributes:
        grouping: what makes a subset: a record's source, or each of its tags.
        subsets: by name.
        sections: by name; empty where none were given.
        average: plain mean over sections, or over subsets where there are no sections; its
            interval resamples the prompts of each by themselves.
    """

    grouping: Grouping
    subsets: Mapping[str, Subset]
    sections: Mapping[str, Estimate]
    average: Estimate


def subset_figures(
    examples: Sequence[Example],
    rewards: Rewards,
    *,
    grouping: Grouping,
    sections: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
) -> SubsetFigures | None:
    """Figures by subset; None where no pair is in any.

    An example of several tags is in several subsets; `sections` names the subsets of each section,
    and those in none of them count in no average.
    """
    table = pair_table(examples, rewards)
    names_of = [(example.source,) if grouping == "source" else example.tags for example in examples]
    names = sorted({name for owner in table.owners for name in names_of[owner]})
    member = {
        name: np.array([name in names_of[owner] for owner in table.owners], dtype=bool)
        for name in names
    }
    if not member:
        return None
    accuracies = accuracies_where(table.gap, table.keys, member, seed=seed)
    by_prompt = _by_prompt(table, member, seed)
    parts = {
        section: np.logical_or.reduce([member[name] for name in inside if name in member])
        for section, inside in (sections or {}).items()
        if any(name in member for name in inside)
    }
    sections_found = _by_prompt(table, parts, seed)
    return SubsetFigures(
        grouping,
        {name: Subset(accuracies[name], by_prompt[name]) for name in member},
        sections_found,
        _average(table, parts or member, sections_found or by_prompt, seed),
    )


def _by_prompt(table: PairTable, parts: Mapping[str, np.ndarray], seed: int) -> dict[str, Estimate]:
    found = {
        name: estimate_by_prompt(*_credits(table, where), seed=seed, span=SHARE)
        for name, where in parts.items()
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def _credits(table: PairTable, where: np.ndarray) -> tuple[Floats, list[str]]:
    at = np.flatnonzero(where)
    return credit_of(table.gap[at]), [table.keys[index] for index in at]


def _average(
    table: PairTable, parts: Mapping[str, np.ndarray], figures: Mapping[str, Estimate], seed: int
) -> Estimate:
    """Plain mean over the parts' figures."""
    # Each part draws its own prompts, so each needs its own seed.
    resampled = [
        bootstrap_by_prompt(*_credits(table, where), seed=seed + number)
        for number, where in enumerate(parts.values())
    ]
    values = figures.values()
    return Estimate(
        value=float(np.mean([part.value for part in values])),
        count=sum(part.count for part in values),
        prompts=sum(part.prompts for part in values),
        interval=_average_interval(np.mean(resampled, axis=0), [part.interval for part in values]),
    )


def _average_interval(resampled: Floats, parts: Sequence[Interval | None]) -> Interval | None:
    """Interval of the parts' mean; None where a part has none, being of one prompt."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    found = percentile_interval(resampled)
    if found.high - found.low > 1e-9:
        return found
    # No part shows any spread: what each may hide, all at once.
    low, high = np.mean([(part.low, part.high) for part in known], axis=0)
    return Interval(float(low), float(high))
