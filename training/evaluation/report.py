"""An evaluation's report: scorers side by side on one data set.

`EvaluationReport` is what its tables and its JSON are made from.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from training.evaluation.figures import Figures

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
class EvaluationReport:
    """Scorers side by side on one data set.

    Attributes:
        data: what they were measured on.
        scorers: the reward models in the order given, then the baselines.
        seed: of all resampling.
    """

    data: DataSummary
    scorers: tuple[Figures, ...]
    seed: int

    def to_json(self) -> dict[str, Any]:
        """As JSON values: the field names as keys, and the form's version."""
        return {
            "version": REPORT_VERSION,
            "data": asdict(self.data),
            "scorers": [one.to_json() for one in self.scorers],
            "seed": self.seed,
        }

    def to_text(self) -> str:
        """As a JSON document."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
