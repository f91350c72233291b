"""The figures of one scorer, and how they are made from its rewards."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from training.data.examples import Example
from training.evaluation.best_of_n import BestOfN, best_of_n
from training.evaluation.lengths import LengthFigures, length_figures
from training.evaluation.pairs import PairFigures, pair_figures
from training.evaluation.rankings import RankingFigures, ranking_figures
from training.evaluation.rewards import Rewards
from training.evaluation.robustness import PerturbationFigures
from training.evaluation.safety import SafetyFigures, safety_figures
from training.evaluation.scorer import ScorerInfo
from training.evaluation.step_figures import ReadSteps, StepFigures, step_figures
from training.evaluation.subsets import SubsetFigures


@dataclass(frozen=True, slots=True)
class RatingFigures:
    """Rewards against the ratings that they were trained to meet.

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
class Figures:
    """Figures of one scorer; a part is None, or empty, where the data hold nothing for it.

    Attributes:
        scorer: what it is.
        prompts: different prompts.
        responses: responses scored.
        reward_mean: mean over responses, each once.
        reward_std: their unbiased standard deviation.
        pairs: how rewards order pairs.
        safety: by safety labels.
        rankings: agreement with rankings and ratings.
        best_of_n: what its favourites are worth.
        subsets: by source or tag, and sections; of an evaluation alone.
        lengths: what rewards have to do with length.
        robustness: per perturbation, by name; of an evaluation alone.
        steps: how rewards at the ends of steps tell right from wrong.
        ratings: how near they come to ratings; of a training on ratings alone.
    """

    scorer: ScorerInfo
    prompts: int
    responses: int
    reward_mean: float
    reward_std: float
    pairs: PairFigures | None = None
    safety: SafetyFigures | None = None
    rankings: RankingFigures | None = None
    best_of_n: BestOfN | None = None
    subsets: SubsetFigures | None = None
    lengths: LengthFigures | None = None
    robustness: Mapping[str, PerturbationFigures] = field(default_factory=dict)
    steps: StepFigures | None = None
    ratings: RatingFigures | None = None

    def to_json(self) -> dict[str, Any]:
        """As an evaluation's report holds them: strict JSON values by field name."""
        parts = asdict(self)
        names = (
            "safety", "rankings", "best_of_n", "subsets", "lengths", "robustness", "steps",
        )  # fmt: skip
        found: dict[str, Any] = json_of(
            {
                "scorer": parts["scorer"],
                "pairs": self._pairs(),
                **{name: parts[name] for name in names},
            }
        )
        return found

    def to_metrics(self) -> dict[str, Any]:
        """As a checkpoint's manifest holds them: the figures of pairs among the others."""
        parts = asdict(self)
        names = (
            "prompts", "responses", "reward_mean", "reward_std", "ratings", "steps", "safety",
            "rankings", "best_of_n", "lengths",
        )  # fmt: skip
        return {**(self._pairs() or {}), **{name: parts[name] for name in names}}

    def _pairs(self) -> dict[str, Any] | None:
        """The figures of pairs, and the spread of all rewards beside them."""
        if self.pairs is None:
            return None
        own = asdict(self.pairs)
        return {
            "prompts": own.pop("prompts"),
            "responses": self.responses,
            **own,
            "reward_mean": self.reward_mean,
            "reward_std": self.reward_std,
        }


def evaluate(
    examples: Sequence[Example],
    rewards: Rewards,
    scorer: ScorerInfo,
    *,
    steps: Sequence[ReadSteps] = (),
    seed: int = 0,
) -> Figures:
    """Compute the figures that need no more than rewards of responses and steps."""
    each = np.concatenate([np.asarray(given, dtype=np.float64) for given in rewards])
    has_scores = scorer.has_scores
    return Figures(
        scorer=scorer,
        prompts=len({example.prompt_key for example in examples}),
        responses=len(each),
        reward_mean=float(each.mean()),
        reward_std=float(each.std(ddof=1)) if len(each) > 1 else 0.0,
        pairs=pair_figures(examples, rewards, seed=seed),
        safety=safety_figures(examples, rewards, has_scores=has_scores, seed=seed),
        rankings=ranking_figures(examples, rewards, seed=seed),
        best_of_n=best_of_n(examples, rewards, seed=seed),
        lengths=length_figures(examples, rewards, seed=seed),
        steps=step_figures(steps, has_scores=has_scores, seed=seed),
    )


def json_of(value: Any) -> Any:
    """A value of dicts, lists and numbers as strict JSON knows it: what is not finite is null."""
    if isinstance(value, dict):
        return {str(key): json_of(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [json_of(inside) for inside in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
