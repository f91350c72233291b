"""The figures of an evaluation: plain dataclasses, absent (None) where there is not enough data.

`EvaluationReport` is what tables, JSON, Markdown and the HTML report are made from.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from training.evaluation.best_of_n import BestOfN
from training.evaluation.lengths import LengthFigures
from training.evaluation.pairs import Evaluation
from training.evaluation.rankings import RankingFigures
from training.evaluation.robustness import PerturbationFigures
from training.evaluation.safety import SafetyFigures
from training.evaluation.scorer import ScorerInfo
from training.evaluation.step_figures import StepFigures
from training.evaluation.subsets import SubsetFigures

REPORT_VERSION = 1


@dataclass(frozen=True, slots=True)
class DataSummary:
    """What was evaluated on, the same for every scorer.

    Attributes:
        files: format of each file, by its path.
        split: which side of the data: "all", "heldout" or "train".
        prompts: different prompts.
        responses: responses that every reward model gave a reward.
        pairs: strict preferences between them.
        tied_pairs: pairs that people held for equal; they count in no figure.
        left_out: rows, responses and pairs that could not be used, by reason; "MODEL: reason" where
            a reward model refused a response, which then is left out for all.
        robustness_prompts: prompts whose responses were perturbed.
    """

    files: Mapping[str, str]
    split: str
    prompts: int
    responses: int
    pairs: int
    tied_pairs: int
    left_out: Mapping[str, int]
    robustness_prompts: int = 0


@dataclass(frozen=True, slots=True)
class ScorerFigures:
    """Everything measured of one scorer; a part is None where the data hold nothing for it.

    Attributes:
        scorer: what it is.
        pairs: accuracy, loss, margins, and the spread of all rewards.
        safety: by safety labels.
        rankings: against rankings and ratings.
        best_of_n: what its favourites are worth.
        subsets: by source or tag, and sections.
        lengths: rewards and length.
        robustness: per perturbation, by name; empty where none was tried.
        steps: at the ends of steps.
    """

    scorer: ScorerInfo
    pairs: Evaluation | None
    safety: SafetyFigures | None
    rankings: RankingFigures | None
    best_of_n: BestOfN | None
    subsets: SubsetFigures | None
    lengths: LengthFigures | None
    robustness: Mapping[str, PerturbationFigures]
    steps: StepFigures | None

    def to_json(self) -> dict[str, Any]:
        """As JSON values: the field names as keys, never NaN."""
        found: dict[str, Any] = json_of(asdict(self))
        return found


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """Scorers side by side on one data set.

    Attributes:
        data: what they were measured on.
        scorers: the reward models in the order given, then the baselines.
        seed: of all resampling.
    """

    data: DataSummary
    scorers: tuple[ScorerFigures, ...]
    seed: int

    @property
    def models(self) -> tuple[ScorerFigures, ...]:
        """The reward models alone."""
        return tuple(s for s in self.scorers if s.scorer.kind == "reward_model")

    @property
    def baselines(self) -> tuple[ScorerFigures, ...]:
        """The baselines alone."""
        return tuple(s for s in self.scorers if s.scorer.kind == "baseline")

    def to_json(self) -> dict[str, Any]:
        """As JSON values: the field names as keys, and the form's version."""
        return {"version": REPORT_VERSION, **json_of(asdict(self))}

    def to_text(self) -> str:
        """As a JSON document."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def json_of(value: Any) -> Any:
    """A value of dicts, lists and numbers as strict JSON knows it: what is not finite is null."""
    if isinstance(value, dict):
        return {str(key): json_of(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [json_of(inside) for inside in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
