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
from training.evaluation.accuracy import Accuracy, accuracy_where, credit_of
from training.evaluation.rewards import PairTable, Rewards, pair_table
from training.statistics.intervals import (
    Estimate,
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

    Args:
        examples: with or without pairs.
        rewards: finite.
        grouping: by source or by tag; an example of several tags is in several subsets.
        sections: names of subsets by section; subsets in none of them count in no average.
        seed: of the intervals.
    """
    table = pair_table(examples, rewards)
    names_of = [(example.source,) if grouping == "source" else example.tags for example in examples]
    names = sorted({name for owner in table.owners for name in names_of[owner]})
    member = {
        name: np.array([name in names_of[owner] for owner in table.owners], dtype=bool)
        for name in names
    }
    subsets = {
        name: Subset(accuracy, by_prompt)
        for name, where in member.items()
        if (accuracy := accuracy_where(table.gap, table.keys, where, seed=seed)) is not None
        and (by_prompt := _by_prompt(table, where, seed)) is not None
    }
    if not subsets:
        return None
    parts = {
        section: np.logical_or.reduce([member[name] for name in inside if name in member])
        for section, inside in (sections or {}).items()
        if any(name in member for name in inside)
    }
    figures = {
        name: found
        for name, where in parts.items()
        if (found := _by_prompt(table, where, seed)) is not None
    }
    average = _average(table, list(parts.values()) or list(member.values()), seed)
    return SubsetFigures(grouping, subsets, figures, average)


def _by_prompt(table: PairTable, where: np.ndarray, seed: int) -> Estimate | None:
    at = np.flatnonzero(where)
    credit = credit_of(table.gap[at])
    return estimate_by_prompt(credit, [table.keys[index] for index in at], seed=seed)


def _average(table: PairTable, parts: Sequence[np.ndarray], seed: int) -> Estimate:
    values, resampled = [], []
    for number, where in enumerate(parts):
        at = np.flatnonzero(where)
        keys = [table.keys[index] for index in at]
        credit = credit_of(table.gap[at])
        # Each part draws its own prompts, so each needs its own seed.
        drawn = bootstrap_by_prompt(credit, keys, seed=seed + number)
        whole = estimate_by_prompt(credit, keys, seed=seed)
        if whole is not None:
            values.append(whole)
            resampled.append(drawn)
    prompts = sum(part.prompts for part in values)
    return Estimate(
        value=float(np.mean([part.value for part in values])),
        count=sum(part.count for part in values),
        prompts=prompts,
        # A part of one prompt has no spread of its own to show.
        interval=percentile_interval(np.mean(resampled, axis=0))
        if all(part.prompts > 1 for part in values)
        else None,
    )
