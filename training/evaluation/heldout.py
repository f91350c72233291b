"""Figures of a trained model on its held-out split."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from rm_core.checkpoint.manifest import HeadKind
from training.batches.padded import BatchLayout
from training.data.examples import EncodedExample, Example
from training.evaluation.figures import Figures, RatingFigures, evaluate
from training.evaluation.forward import score_examples, score_steps
from training.evaluation.rewards import Rewards, labelled
from training.evaluation.scorer import ScorerInfo
from training.evaluation.step_figures import ReadSteps

TRAINED_MODEL = ScorerInfo("reward model", "reward_model", "reads prompt and response")
"""What the tables of a training call its model."""


def heldout_figures(
    examples: Sequence[EncodedExample],
    rewards: Rewards,
    steps: Sequence[Sequence[Sequence[float]]] = (),
    *,
    seed: int = 0,
) -> Figures:
    """Compute the figures of the held-out split from rewards of responses and of labelled steps."""
    read = [
        ReadSteps(example.prompt_key, tuple(step.label for step in labels), tuple(own))
        for example, given in zip(examples, steps, strict=False)
        for labels, own in zip(example.step_targets, given, strict=True)
        if labels
    ]
    figures = evaluate(examples, rewards, TRAINED_MODEL, steps=read, seed=seed)
    return replace(figures, ratings=_rating_figures(examples, rewards))


def measure(
    model: Any,
    examples: Sequence[EncodedExample],
    *,
    pad_token_id: int,
    head: HeadKind,
    layout: BatchLayout | None = None,
    seed: int = 0,
) -> tuple[Figures, list[tuple[float, ...]]]:
    """Score the held-out split by a model in memory; figures, and raw rewards by example.

    Raises:
        TrainingDiverged: a reward is not finite.
    """
    how: dict[str, Any] = {"pad_token_id": pad_token_id, "layout": layout}
    rewards = score_examples(model, examples, head=head, **how)
    stepped = any(example.step_targets for example in examples)
    steps = score_steps(model, examples, **how) if stepped else ()
    return heldout_figures(examples, rewards, steps, seed=seed), rewards


def _rating_figures(examples: Sequence[Example], rewards: Rewards) -> RatingFigures | None:
    found, wanted, _ = labelled(examples, rewards, lambda example, index: example.ratings[index])
    if not len(found):
        return None
    varied = np.ptp(found) > 0 and np.ptp(wanted) > 0
    return RatingFigures(
        responses=len(found),
        mean_squared_error=float(((found - wanted) ** 2).mean()),
        variance=float(wanted.var()),
        spearman=float(spearmanr(found, wanted).statistic) if varied else None,
    )
