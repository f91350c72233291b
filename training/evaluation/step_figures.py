"""How well rewards at the ends of steps tell right steps from wrong ones: process reward models."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluation.cases import Case
from training.evaluation.classification import Discrimination, discrimination
from training.evaluation.intervals import Estimate, estimate
from training.records import StepLabel

StepRewards = Sequence[Sequence[Sequence[float] | None]]
"""Per case and response the rewards at its steps' ends; None where they could not be read."""


@dataclass(frozen=True, slots=True)
class StepFigures:
    """Figures of labelled steps; a label of exactly ½ is a doubt and counts nowhere.

    Attributes:
        steps: each step by itself; its `bad` are the wrong ones.
        first_error: share of responses whose first step below score 0.5 is the first wrong one, or
            that have neither; None for scorers whose sigmoid is no score.
    """

    steps: Discrimination
    first_error: Estimate | None


def step_figures(
    cases: Sequence[Case], rewards: StepRewards, *, has_scores: bool, seed: int = 0
) -> StepFigures | None:
    """Figures of steps; None where none is labelled, or none could be read.

    Args:
        cases: with or without steps.
        rewards: at their steps.
        has_scores: whether σ(reward) is a score.
        seed: of the intervals.
    """
    found = [
        (steps, values, case.prompt_key)
        for case, given in zip(cases, rewards, strict=True)
        for steps, values in zip(case.steps, given, strict=True)
        if steps and values is not None
    ]
    flat = [
        (value, step.label, key)
        for steps, values, key in found
        for step, value in zip(steps, values, strict=True)
        if step.label != 0.5
    ]
    figures = discrimination(
        np.array([value for value, *_ in flat], dtype=np.float64),
        np.array([label > 0.5 for _, label, _ in flat], dtype=bool),
        [key for *_, key in flat],
        has_scores=has_scores,
        seed=seed,
    )
    if figures is None:
        return None
    hits = [float(_finds_first_error(steps, values)) for steps, values, _ in found]
    first = estimate(hits, [key for *_, key in found], seed=seed) if has_scores else None
    return StepFigures(figures, first)


def _finds_first_error(steps: Sequence[StepLabel], values: Sequence[float]) -> bool:
    wrong = next((i for i, step in enumerate(steps) if step.label < 0.5), None)
    flagged = next((i for i, value in enumerate(values) if value < 0), None)
    return wrong == flagged
