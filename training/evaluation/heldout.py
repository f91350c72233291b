"""What a training measures on its held-out split: whatever its data allow."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from rm_core.checkpoint.manifest import HeadKind
from training.batches.padded import BatchLayout
from training.data.examples import Comparison
from training.evaluation import Evaluation, evaluate
from training.evaluation.best_of_n import BestOfN, best_of_n
from training.evaluation.cases import case_of_comparison
from training.evaluation.forward import score_comparisons, score_steps
from training.evaluation.lengths import LengthFigures, length_figures
from training.evaluation.rankings import RankingFigures, ranking_figures
from training.evaluation.safety import SafetyFigures, safety_figures
from training.evaluation.step_figures import ReadSteps, StepFigures, step_figures


@dataclass(frozen=True, slots=True)
class RatingFigures:
    """Rewards against ratings.

    Attributes:
        responses: rated ones.
        mean_squared_error: of the rewards, in squared units of the ratings.
        variance: of the ratings: the error of always guessing their mean.
        spearman: rank correlation, from −1 to 1; None where rewards or ratings are all equal.
    """

    responses: int
    mean_squared_error: float
    variance: float
    spearman: float | None


@dataclass(frozen=True, slots=True)
class HeldoutFigures:
    """Figures on the held-out split; each part None where the data have none of it.

    Attributes:
        prompts: different prompts.
        responses: responses scored.
        reward_mean: mean over responses, each once.
        reward_std: their unbiased standard deviation.
        pairs: how rewards order pairs.
        ratings: how near they come to ratings, if ratings were trained on.
        steps: how rewards at steps' ends tell right from wrong, if steps were trained on.
        safety: by safety labels.
        rankings: agreement with rankings, and with ratings if those were trained on.
        best_of_n: what its favourites are worth.
        lengths: what rewards have to do with length.
    """

    prompts: int
    responses: int
    reward_mean: float
    reward_std: float
    pairs: Evaluation | None = None
    ratings: RatingFigures | None = None
    steps: StepFigures | None = None
    safety: SafetyFigures | None = None
    rankings: RankingFigures | None = None
    best_of_n: BestOfN | None = None
    lengths: LengthFigures | None = None

    def lines(self) -> list[str]:
        """What is known of responses and steps that were scored by themselves, as sentences."""
        found = []
        if self.ratings is not None:
            rank = self.ratings.spearman
            found.append(
                f"Ratings: over {self.ratings.responses} rated responses the mean squared error is "
                f"{self.ratings.mean_squared_error:.4f}, where always guessing the mean has "
                f"{self.ratings.variance:.4f}"
                + (f"; Spearman's ρ {rank:+.3f}." if rank is not None else ".")
            )
        steps = None if self.steps is None else self.steps.steps
        if steps is not None and steps.at_half is not None:
            found.append(
                f"Steps: of {steps.good} good and {steps.bad} bad ones "
                f"{steps.at_half.accuracy.value:.1%} fall on their side of score 0.5, where "
                f"always saying what is more frequent has {steps.majority:.1%}."
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """As JSON values, the figures of pairs among the others."""
        values = asdict(self)
        pairs = values.pop("pairs") or {}
        return {**pairs, **values}


def heldout_figures(
    comparisons: Sequence[Comparison],
    rewards: Sequence[Sequence[float]],
    steps: Sequence[Sequence[Sequence[float]]] = (),
    *,
    seed: int = 0,
) -> HeldoutFigures:
    """Figures from rewards.

    Args:
        comparisons: at least one.
        rewards: one per response of each comparison.
        steps: one per step, like `Comparison.steps`; empty where none are labelled.
        seed: of all resampling.
    """
    each = np.concatenate([np.asarray(given, dtype=np.float64) for given in rewards])
    cases = [case_of_comparison(comparison) for comparison in comparisons]
    return HeldoutFigures(
        prompts=len({comparison.prompt_key for comparison in comparisons}),
        responses=len(each),
        reward_mean=float(each.mean()),
        reward_std=float(each.std(ddof=1)) if len(each) > 1 else 0.0,
        pairs=evaluate(comparisons, rewards, seed=seed)
        if any(comparison.pairs for comparison in comparisons)
        else None,
        ratings=_rating_figures(comparisons, rewards),
        steps=_step_figures(comparisons, steps, seed),
        safety=safety_figures(cases, rewards, has_scores=True, seed=seed),
        rankings=ranking_figures(cases, rewards, seed=seed),
        best_of_n=best_of_n(cases, rewards, seed=seed),
        lengths=length_figures(cases, rewards, seed=seed),
    )


def measure(
    model: Any,
    comparisons: Sequence[Comparison],
    *,
    pad_token_id: int,
    head: HeadKind,
    layout: BatchLayout | None = None,
    seed: int = 0,
) -> tuple[HeldoutFigures, list[tuple[float, ...]]]:
    """Figures of a model in memory, and the raw rewards that they are of, by comparison.

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
    ways: dict[str, Any] = {"pad_token_id": pad_token_id, "layout": layout}
    rewards = score_comparisons(model, comparisons, head=head, **ways)
    stepped = any(comparison.steps for comparison in comparisons)
    steps = score_steps(model, comparisons, **ways) if stepped else ()
    return heldout_figures(comparisons, rewards, steps, seed=seed), rewards


def _rating_figures(
    comparisons: Sequence[Comparison], rewards: Sequence[Sequence[float]]
) -> RatingFigures | None:
    rated = [
        (reward, rating)
        for comparison, given in zip(comparisons, rewards, strict=True)
        for reward, rating in zip(given, comparison.ratings, strict=False)
        if rating is not None
    ]
    if not rated:
        return None
    found, wanted = np.array(rated, dtype=np.float64).T
    varied = np.ptp(found) > 0 and np.ptp(wanted) > 0
    return RatingFigures(
        responses=len(rated),
        mean_squared_error=float(((found - wanted) ** 2).mean()),
        variance=float(wanted.var()),
        spearman=float(spearmanr(found, wanted).statistic) if varied else None,
    )


def _step_figures(
    comparisons: Sequence[Comparison], rewards: Sequence[Sequence[Sequence[float]]], seed: int
) -> StepFigures | None:
    read = [
        ReadSteps(comparison.prompt_key, tuple(step.label for step in steps), tuple(own))
        for comparison, given in zip(comparisons, rewards, strict=False)
        for steps, own in zip(comparison.steps, given, strict=True)
        if steps
    ]
    return step_figures(read, has_scores=True, seed=seed)
