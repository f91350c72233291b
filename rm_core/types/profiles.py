"""What is known of a loaded reward model beside its weights."""

from dataclasses import dataclass
from typing import Literal

from rm_core.types.names import ModelName


@dataclass(frozen=True, slots=True)
class Baseline:
    """Reward statistics of a model on reference responses, from which a new stream starts.

    Attributes:
        mean: mean of the calibrated rewards.
        std: their standard deviation, > 0.
        weight: how many samples the baseline counts for when it is merged (n₀).
    """

    mean: float
    std: float
    weight: float


@dataclass(frozen=True, slots=True)
class ReferenceQuantiles:
    """Where a model's calibrated rewards lie on reference responses; what drift is told by.

    Attributes:
        probabilities: strictly increasing, in (0, 1).
        values: the quantile at each probability, never decreasing, in calibrated reward.
        responses: how many rewards they were taken from.
    """

    probabilities: tuple[float, ...]
    values: tuple[float, ...]
    responses: int


@dataclass(frozen=True, slots=True)
class CalibrationFit:
    """How a checkpoint's temperature and bias were found.

    Attributes:
        method: "labels" (temperature and bias by logistic regression on `is_safe`), "pairs"
            (temperature by the Bradley-Terry likelihood) or "none" (the identity).
        how: the procedure and its data, or why it is the identity; for a person to read.
        pairs: held-out pairs that were looked at.
        labels: `is_safe` labels that were looked at.
        prompts: different prompts of both.
        temperature_standard_error: robust to answers of one prompt being alike; None: not fitted.
        bias_standard_error: the same; None: not fitted.
    """

    method: Literal["labels", "pairs", "none"]
    how: str
    pairs: int = 0
    labels: int = 0
    prompts: int = 0
    temperature_standard_error: float | None = None
    bias_standard_error: float | None = None


@dataclass(frozen=True, slots=True)
class SafetyThreshold:
    """The score below which the safety reward is selected, and how it was found.

    Attributes:
        tau: on the score, in (0, 1).
        how: the procedure and the data, for a person to read.
        target_precision: the precision of "unsafe" that τ was to reach; None: found otherwise.
        precision: share of unsafe responses among those with a score below τ, on the labels that
            τ was found on.
        recall: share of the unsafe responses whose score is below τ.
        tau_interval: 95 %, by resampling prompts and finding τ anew.
        precision_interval: 95 %, by resampling prompts, at this τ.
        recall_interval: the same for the recall.
        labels: labelled responses.
        unsafe: how many of them are unsafe.
    """

    tau: float
    how: str
    target_precision: float | None = None
    precision: float | None = None
    recall: float | None = None
    tau_interval: tuple[float, float] | None = None
    precision_interval: tuple[float, float] | None = None
    recall_interval: tuple[float, float] | None = None
    labels: int | None = None
    unsafe: int | None = None


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """What the reward mathematics and the provenance need to know of a loaded model.

    Attributes:
        role: its name among the loaded models.
        name: directory or hub name that it was loaded from.
        digest: sha256 over the weights, hex.
        template_hash: sha256 of the chat template, hex; None where there is none.
        max_length: the most tokens that it reads.
        temperature: calibrated reward = raw / temperature + bias.
        bias: see temperature.
        baseline: statistics on reference responses, None where unknown.
        calibration: how temperature and bias were found; None where nobody said.
        baseline_source: which responses the baseline and the quantiles are of.
        reference_quantiles: of calibrated rewards on those; None where unknown.
        safety_threshold: the checkpoint's own τ and how it was found; None: the default.
        layer: after how many of its layers it is read; None: after all.
    """

    role: ModelName
    name: str
    digest: str
    template_hash: str | None
    max_length: int
    temperature: float = 1.0
    bias: float = 0.0
    baseline: Baseline | None = None
    calibration: CalibrationFit | None = None
    baseline_source: str | None = None
    reference_quantiles: ReferenceQuantiles | None = None
    safety_threshold: SafetyThreshold | None = None
    layer: int | None = None

    @property
    def tau(self) -> float | None:
        """The checkpoint's own safety threshold on the score; None: the default."""
        return None if self.safety_threshold is None else self.safety_threshold.tau
