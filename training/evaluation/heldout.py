"""Figures of a trained model on its held-out split."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from rm_core.checkpoint.manifest import HeadKind
from training.batches.padded import BatchLayout
from training.data.examples import Comparison
from training.evaluation.cases import Case, Rewards, case_of_comparison, labelled
from training.evaluation.figures import Figures, RatingFigures, evaluate
from training.evaluation.forward import score_comparisons, score_steps
from training.evaluation.scorer import ScorerInfo
from training.evaluation.step_figures import ReadSteps

TRAINED_MODEL = ScorerInfo("reward model", "reward_model", "reads prompt and response")
"""What the tables of a training call its model."""


def heldout_figures(
    comparisons: Sequence[Comparison],
    rewards: Rewards,
    steps: Sequence[Sequence[Sequence[float]]] = (),
    *,
    seed: int = 0,
) -> Figures:
    """Compute the figures of the held-out split from rewards.

    Args:
        comparisons: at least one.
        rewards: one per response of each comparison.
        steps: one per step, like `Comparison.steps`; empty where none are labelled.
        seed: of all resampling.
    """
    cases = [case_of_comparison(comparison) for comparison in comparisons]
    read = [
        ReadSteps(comparison.prompt_key, tuple(step.label for step in labels), tuple(own))
        for comparison, given in zip(comparisons, steps, strict=False)
        for labels, own in zip(comparison.steps, given, strict=True)
        if labels
    ]
    figures = evaluate(cases, rewards, TRAINED_MODEL, steps=read, seed=seed)
    return replace(figures, ratings=_rating_figures(cases, rewards))


def measure(
    model: Any,
    comparisons: Sequence[Comparison],
    *,
    pad_token_id: int,
    head: HeadKind,
    layout: BatchLayout | None = None,
    seed: int = 0,
) -> tuple[Figures, list[tuple[float, ...]]]:
    """Score the held-out split by a model in memory; figures, and raw rewards by comparison.

    Args:
        model: as it will be published.
        comparisons: the held-out side.
        pad_token_id: the model's.
        head: where its rewards are read.
        layout: how texts go through the model; None: packed where it can.
        seed: of all resampling.

    Raises:
        TrainingDiverged: a reward is not finite.
    """
    how: dict[str, Any] = {"pad_token_id": pad_token_id, "layout": layout}
    rewards = score_comparisons(model, comparisons, head=head, **how)
    stepped = any(comparison.steps for comparison in comparisons)
    steps = score_steps(model, comparisons, **how) if stepped else ()
    return heldout_figures(comparisons, rewards, steps, seed=seed), rewards


def _rating_figures(cases: Sequence[Case], rewards: Rewards) -> RatingFigures | None:
    found, wanted, _ = labelled(cases, rewards, lambda case, index: case.ratings[index])
    if not len(found):
        return None
    varied = np.ptp(found) > 0 and np.ptp(wanted) > 0
    return RatingFigures(
        responses=len(found),
        mean_squared_error=float(((found - wanted) ** 2).mean()),
        variance=float(wanted.var()),
        spearman=float(spearmanr(found, wanted).statistic) if varied else None,
    )
