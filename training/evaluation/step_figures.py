"""Figures of process reward models: rewards at the ends of steps against their labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluation.classification import Discrimination, discrimination
from training.statistics.intervals import SHARE, Estimate, estimate


@dataclass(frozen=True, slots=True)
class ReadSteps:
    """The labels of a response's steps and the rewards at their ends.

    Attributes:
        prompt_key: its prompt's.
        labels: 1 right, 0 wrong, in order.
        rewards: at the steps' ends.
    """

    prompt_key: str
    labels: tuple[float, ...]
    rewards: tuple[float, ...]


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
    responses: Sequence[ReadSteps], *, has_scores: bool, seed: int = 0
) -> StepFigures | None:
    """Figures of steps; None of none."""
    flat = [
        (reward, label, one.prompt_key)
        for one in responses
        for label, reward in zip(one.labels, one.rewards, strict=True)
        if label != 0.5
    ]
    figures = discrimination(
        np.array([reward for reward, *_ in flat], dtype=np.float64),
        np.array([label > 0.5 for _, label, _ in flat], dtype=bool),
        [key for *_, key in flat],
        has_scores=has_scores,
        seed=seed,
    )
    if figures is None:
        return None
    hits = [float(_finds_first_error(one)) for one in responses]
    keys = [one.prompt_key for one in responses]
    first_error = estimate(hits, keys, seed=seed, span=SHARE) if has_scores else None
    return StepFigures(figures, first_error)


def _finds_first_error(one: ReadSteps) -> bool:
    wrong = next((i for i, label in enumerate(one.labels) if label < 0.5), None)
    flagged = next((i for i, reward in enumerate(one.rewards) if reward < 0), None)
    return wrong == flagged
