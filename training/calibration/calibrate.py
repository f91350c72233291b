"""The whole of a calibration: fit, honest figures before and after, τ, baseline, quantiles."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from rm_core.checkpoint.manifest import RewardModelManifest
from rm_core.rewards import calibrate
from rm_core.types import Baseline, CalibrationFit, ReferenceQuantiles, Role
from training.calibration.fitting import Fit, crossfitted, fit_calibration
from training.calibration.observations import Observations
from training.calibration.references import (
    ReferenceRewards,
    baseline_of,
    heldout_rewards,
    quantiles_of,
)
from training.calibration.reliability import Reliability, label_reliability, pair_reliability
from training.calibration.threshold import ThresholdSearch, find_threshold
from training.types import DEFAULT_TARGET_PRECISION, CalibrationMethod

FOLDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationOptions:
    """What to calibrate for.

    Attributes:
        role: τ is the safety role's alone.
        method: what temperature and bias are fitted on.
        target_precision: of "unsafe" below τ.
        baseline_weight: n₀, how many samples the baseline counts for.
        data: which data they are, for a person to read.
        seed: of folds and resamples.
    """

    role: Role
    method: CalibrationMethod = "auto"
    target_precision: float = DEFAULT_TARGET_PRECISION
    baseline_weight: float = 32.0
    data: str = "the held-out split of the training data"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class BeforeAndAfter:
    """Reliability of the raw rewards, and of calibrated ones by cross-fitting.

    Attributes:
        before: σ of raw rewards; None where there is nothing to look at.
        after: each prompt calibrated by data of other prompts.
    """

    before: Reliability | None
    after: Reliability | None


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """What is to be known of a model's calibration; nothing of it changes a raw reward.

    Attributes:
        fit: temperature, bias and how they came about.
        pairs: of P(chosen ≻ rejected).
        labels: of P(safe); nothing for the helpfulness role.
        threshold: the search for τ; None for the helpfulness role.
        baseline: of calibrated rewards on the references; None where they don't spread.
        quantiles: of the same; None where they are too few.
        source: which responses the references are.
        provenance: the fit as the manifest holds it.
    """

    fit: Fit
    pairs: BeforeAndAfter
    labels: BeforeAndAfter
    threshold: ThresholdSearch | None
    baseline: Baseline | None
    quantiles: ReferenceQuantiles | None
    source: str
    provenance: CalibrationFit

    def applied_to(self, manifest: RewardModelManifest) -> RewardModelManifest:
        """The manifest with this calibration in place of whatever it said before.

        Everything is written or cleared: a τ of an earlier calibration would lie on its scale.
        """
        metrics = {**manifest.metrics, "calibration": self.to_json()}
        metrics.pop("safety_threshold", None)
        if self.threshold is not None:
            metrics["safety_threshold"] = self.threshold.to_json()
        return replace(
            manifest,
            temperature=self.fit.calibration.temperature,
            bias=self.fit.calibration.bias,
            calibration=self.provenance,
            baseline=self.baseline,
            baseline_source=self.source,
            reference_quantiles=self.quantiles,
            safety_threshold=None if self.threshold is None else self.threshold.threshold,
            metrics=metrics,
        )

    def to_json(self) -> dict[str, Any]:
        """The figures, reliability diagrams included, as JSON values."""
        return {
            "folds": FOLDS,
            "after_is": "cross-fitted: each prompt is calibrated by data of other prompts",
            "pairs": asdict(self.pairs),
            "labels": asdict(self.labels),
        }

    def to_text(self) -> str:
        """For a person to read, a line for each thing."""
        temperature, bias = self.fit.calibration
        error = self.fit.temperature_standard_error
        doubt = "" if error is None else f" ± {error:.2g}"
        lines = [f"calibration: temperature {temperature:.4g}{doubt}, bias {bias:+.4g}"]
        lines.append(f"  {self.fit.how}")
        for name, figures in (("P(chosen wins)", self.pairs), ("P(safe)", self.labels)):
            if figures.before is not None and figures.after is not None:
                lines.append(f"  {name}: {_change(figures.before, figures.after)}")
        if self.threshold is not None:
            lines += _threshold_lines(self.threshold)
        if self.baseline is not None:
            lines.append(
                f"baseline: mean {self.baseline.mean:+.3f}, std {self.baseline.std:.3f}, counts "
                f"for {self.baseline.weight:g}: {self.source}"
            )
        else:
            lines.append(f"baseline: none, the rewards do not spread: {self.source}")
        return "\n".join(lines)


def calibrate_rewards(
    observations: Observations,
    options: CalibrationOptions,
    *,
    references: ReferenceRewards | None = None,
) -> CalibrationResult:
    """Calibrate from rewards of data that the model was not trained on.

    Without rewards of a reference policy's responses the held-out ones stand in.
    """
    fit = fit_calibration(observations, options.role, options.method)
    gaps, rewards = crossfitted(observations, fit.method, folds=FOLDS, seed=options.seed)
    pairs, labels, seed = observations.pairs, observations.labels, options.seed
    threshold = None
    if options.role == "safety":
        threshold = find_threshold(
            labels,
            fit.calibration,
            target_precision=options.target_precision,
            folds=FOLDS,
            seed=seed,
        )
    references = references or heldout_rewards(observations.rewards)
    calibrated = calibrate(references.rewards, fit.calibration)
    return CalibrationResult(
        fit=fit,
        pairs=BeforeAndAfter(
            pair_reliability(pairs.gap, seed=seed), pair_reliability(gaps, seed=seed)
        ),
        # Only a safety reward's score is meant to be P(safe).
        labels=BeforeAndAfter(
            label_reliability(labels.reward, labels.is_safe, seed=seed),
            label_reliability(rewards, labels.is_safe, seed=seed),
        )
        if options.role == "safety"
        else BeforeAndAfter(None, None),
        threshold=threshold,
        baseline=baseline_of(calibrated, weight=options.baseline_weight),
        quantiles=quantiles_of(calibrated),
        source=references.source,
        provenance=CalibrationFit(
            method=fit.method,
            how=f"{fit.how}. Data: {options.data}",
            pairs=len(pairs.gap),
            labels=len(labels.reward),
            prompts=observations.num_prompts,
            temperature_standard_error=fit.temperature_standard_error,
            bias_standard_error=fit.bias_standard_error,
        ),
    )


def _change(before: Reliability, after: Reliability) -> str:
    return (
        f"ECE {before.ece:.3f} → {after.ece:.3f} (a perfect forecast's here: "
        f"{after.ece_if_calibrated:.3f}), negative log-likelihood {before.nll:.4f} → "
        f"{after.nll:.4f}, Brier {before.brier:.4f} → {after.brier:.4f}, over {after.count}"
    )


def _threshold_lines(search: ThresholdSearch) -> list[str]:
    if search.point is None:
        lines = [f"safety threshold: none: {search.reason}"]
    else:
        point = search.point
        low, high = search.tau_interval or (point.score, point.score)
        lines = [
            f"safety threshold: {point.score:.4f} on the score ({low:.4f} – {high:.4f}), "
            f"{point.raw:+.4f} on the raw reward: precision {_percent(point.precision)}, recall "
            f"{point.recall:.1%} of {search.unsafe} unsafe among {search.labels} labelled"
        ]
    if search.crossfitted is not None and search.point is not None:
        precision, recall = search.crossfitted
        lines.append(
            f"  on prompts that τ was not found on: precision {_percent(precision)}, recall "
            f"{recall:.1%}"
        )
    if search.papers_score is not None:
        papers = search.papers_score
        lines.append(
            f"  LLaMA-2's 0.15 here: precision {_percent(papers.precision)}, recall "
            f"{papers.recall:.1%} (theirs: 89 %, 55 %)"
        )
    return lines


def _percent(share: float | None) -> str:
    return "none, nothing is flagged" if share is None else f"{share:.1%}"
