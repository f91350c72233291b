"""The safety threshold τ: below which score a response counts as unsafe.

"Unsafe" is flagged where score < τ, strictly, as the selection rule compares. Precision is the
share of unsafe responses among those flagged, recall the share of the unsafe ones that is flagged.
τ is the largest threshold whose precision reaches the target: the most recall that it allows.

LLaMA-2's 0.15 had precision 0.89 and recall 0.55 on its test set (arXiv:2307.09288 §3.2.3); its
precision and recall here stand beside τ's.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm_core.rewards import DEFAULT_TAU, Calibration, calibrate, sigmoid
from rm_core.types import SafetyThreshold
from training.calibration.fitting import prompt_folds
from training.calibration.observations import Labels
from training.statistics.intervals import SHARE, Floats, Interval, Ints, honest_interval
from training.types import DEFAULT_TARGET_PRECISION

MIN_LABELS_OF_CLASS = 20
MIN_FLAGGED = 10
"""Fewer flagged responses tell nothing of a precision: one right one alone would be 100 %."""

_RESAMPLES = 1000
_RESAMPLES_AT_ONCE = 50
_CURVE_POINTS = 200


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What a threshold does on the labels.

    Attributes:
        score: flagged where the calibrated score is below it.
        raw: the same on the raw reward.
        flagged: responses below it.
        precision: of "unsafe"; None where nothing is flagged.
        recall: of the unsafe responses.
        precision_interval: 95 % by resampling prompts, Wilson's of the prompts at 0 and 1;
            None where nothing is flagged.
        recall_interval: the same.
    """

    score: float
    raw: float
    flagged: int
    precision: float | None
    recall: float
    precision_interval: tuple[float, float] | None
    recall_interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class ThresholdSearch:
    """τ at a target precision, or why there is none.

    Attributes:
        target_precision: what τ was to reach.
        labels: labelled responses.
        unsafe: how many of them are unsafe.
        reason: why there is no τ; None: there is one.
        point: at τ.
        tau_interval: 95 %, τ found anew in resampled prompts, where the target was reached there.
        reached_in_resamples: share of resamples in which the target can be reached.
        crossfitted: precision and recall, each prompt scored by a τ found on others; precision is
            None where nothing is flagged.
        papers_score: the paper's 0.15 on the calibrated score.
        papers_raw: its 0.15 on σ(raw reward), which is what an uncalibrated model would use.
        curve: precision and recall at up to 200 thresholds, by name, the lowest first.
    """

    target_precision: float
    labels: int
    unsafe: int
    reason: str | None
    point: OperatingPoint | None = None
    tau_interval: tuple[float, float] | None = None
    reached_in_resamples: float | None = None
    crossfitted: tuple[float | None, float] | None = None
    papers_score: OperatingPoint | None = None
    papers_raw: OperatingPoint | None = None
    curve: dict[str, list[float]] | None = None

    @property
    def threshold(self) -> SafetyThreshold | None:
        """What the manifest holds; None where the target was not reached."""
        if self.point is None:
            return None
        return SafetyThreshold(
            tau=self.point.score,
            how=(
                f"the most recall of unsafe responses at a precision of at least "
                f"{self.target_precision:g}, on {self.labels} labelled held-out responses, "
                f"{self.unsafe} of them unsafe"
            ),
            target_precision=self.target_precision,
            precision=self.point.precision,
            recall=self.point.recall,
            tau_interval=self.tau_interval,
            precision_interval=self.point.precision_interval,
            recall_interval=self.point.recall_interval,
            labels=self.labels,
            unsafe=self.unsafe,
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def find_threshold(
    labels: Labels,
    calibration: Calibration,
    *,
    target_precision: float = DEFAULT_TARGET_PRECISION,
    folds: int = 5,
    seed: int = 0,
) -> ThresholdSearch:
    """Look for τ on raw rewards and labels, to be served after `calibration`."""
    empty = ThresholdSearch(target_precision, len(labels.reward), labels.num_unsafe, None)
    if min(labels.num_safe, labels.num_unsafe) < MIN_LABELS_OF_CLASS:
        found = f"{labels.num_safe} safe and {labels.num_unsafe} unsafe ones"
        wanted = f"at least {MIN_LABELS_OF_CLASS} of each are needed"
        return replace(empty, reason=f"too few labels: {found}; {wanted}")
    ordered = _Ordered.of(labels, calibration)
    if len(ordered.distinct) < 2:
        return replace(empty, reason="all labelled responses have the same reward")
    drawn = _resampled(ordered, target_precision, seed=seed)
    cut = ordered.cut(target_precision)
    reward = None if cut is None else ordered.between(cut)
    reason = None
    if reward is None:
        reason = (
            f"no threshold that flags at least {MIN_FLAGGED} responses, and not all, has a "
            f"precision of {target_precision:g}; the best has {ordered.best_precision():.3f}"
        )
    elif not 0.0 < float(sigmoid([reward])[0]) < 1.0:
        reason = f"the score at the threshold is 0 or 1 to the last digit (reward {reward:.3g})"
        reward = None
    papers = math.log(DEFAULT_TAU / (1 - DEFAULT_TAU))
    return replace(
        empty,
        reason=reason,
        point=None if reward is None else ordered.point(reward, drawn),
        tau_interval=None if reward is None else drawn.tau_interval,
        reached_in_resamples=drawn.reached,
        crossfitted=_crossfitted(labels, calibration, target_precision, folds=folds, seed=seed),
        papers_score=ordered.point(papers, drawn),
        papers_raw=ordered.point(float(calibrate([papers], calibration)[0]), drawn),
        curve=ordered.curve(),
    )


@dataclass(frozen=True, slots=True)
class _Resamples:
    """Bootstrap draws of prompts.

    Attributes:
        weights: how often each prompt was drawn, (resamples, prompts).
        tau_interval: of τ found anew; None where it was found in none.
        reached: share of resamples in which it was found.
    """

    weights: Ints
    tau_interval: tuple[float, float] | None
    reached: float


@dataclass(frozen=True, slots=True)
class _Ordered:
    """Labelled responses by calibrated reward, the lowest first.

    Attributes:
        calibration: of the rewards.
        reward: (n,), ascending.
        unsafe: 1 or 0, (n,).
        prompt: numbers without gaps, (n,).
        distinct: the different rewards, (cuts + 1,): a threshold lies between two of them.
        end: how many responses lie up to and with each of them.
    """

    calibration: Calibration
    reward: Floats
    unsafe: Ints
    prompt: Ints
    distinct: Floats
    end: Ints

    @classmethod
    def of(cls, labels: Labels, calibration: Calibration) -> "_Ordered":
        reward = calibrate(labels.reward, calibration)
        order = np.argsort(reward, kind="stable")
        distinct, counts = np.unique(reward, return_counts=True)
        _, prompt = np.unique(labels.prompt[order], return_inverse=True)
        unsafe = (~labels.is_safe[order]).astype(np.int64)
        return cls(calibration, reward[order], unsafe, prompt, distinct, np.cumsum(counts))

    def cut(self, target: float) -> int | None:
        """After which distinct reward to cut; None: no cut reaches the target."""
        flagged = self.end[:-1]
        hits = np.cumsum(self.unsafe)[flagged - 1]
        good = np.flatnonzero((flagged >= MIN_FLAGGED) & (hits >= target * flagged))
        return int(good[-1]) if len(good) else None

    def between(self, cut: int) -> float:
        """The reward half-way between the last one flagged and the first one not."""
        return float((self.distinct[cut] + self.distinct[cut + 1]) / 2)

    def best_precision(self) -> float:
        """The highest precision of a cut that flags enough."""
        flagged = self.end[:-1]
        precision = np.cumsum(self.unsafe)[flagged - 1] / flagged
        enough = precision[flagged >= MIN_FLAGGED]
        return float(enough.max()) if len(enough) else 0.0

    def point(self, reward: float, drawn: _Resamples) -> OperatingPoint:
        """What a threshold on the calibrated reward does."""
        temperature, bias = self.calibration
        flagged = self.reward < reward
        hit = flagged & (self.unsafe == 1)
        by_prompt = [
            np.bincount(self.prompt, values) @ drawn.weights.T
            for values in (flagged, hit, self.unsafe)
        ]
        with np.errstate(invalid="ignore", divide="ignore"):
            precisions, recalls = by_prompt[1] / by_prompt[0], by_prompt[1] / by_prompt[2]
        return OperatingPoint(
            score=float(sigmoid([reward])[0]),
            raw=temperature * (reward - bias),
            flagged=int(flagged.sum()),
            precision=float(hit.sum() / flagged.sum()) if flagged.any() else None,
            recall=float(hit.sum() / self.unsafe.sum()),
            precision_interval=self._share_interval(precisions, flagged) if flagged.any() else None,
            recall_interval=self._share_interval(recalls, self.unsafe == 1) or (0.0, 1.0),
        )

    def _share_interval(
        self, resampled: Floats, among: NDArray[np.bool_]
    ) -> tuple[float, float] | None:
        found = _interval(resampled)
        if found is None:
            return None
        prompts = len(np.unique(self.prompt[among]))
        honest = honest_interval(Interval(*found), SHARE, prompts)
        return honest.low, honest.high

    def curve(self) -> dict[str, list[float]]:
        """Precision and recall at evenly chosen cuts."""
        cuts = len(self.end) - 1
        chosen = np.unique(np.linspace(0, cuts - 1, min(cuts, _CURVE_POINTS)).astype(np.int64))
        flagged, hits = self.end[chosen], np.cumsum(self.unsafe)[self.end[chosen] - 1]
        rewards = (self.distinct[chosen] + self.distinct[chosen + 1]) / 2
        return {
            "score": sigmoid(rewards).tolist(),
            "precision": (hits / flagged).tolist(),
            "recall": (hits / self.unsafe.sum()).tolist(),
        }


def _resampled(ordered: _Ordered, target: float, *, seed: int) -> _Resamples:
    prompts = int(ordered.prompt.max()) + 1
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(prompts, np.full(prompts, 1 / prompts), size=_RESAMPLES)
    rewards: list[float] = []
    cut_at = ordered.end[:-1] - 1
    for start in range(0, _RESAMPLES, _RESAMPLES_AT_ONCE):
        often = weights[start : start + _RESAMPLES_AT_ONCE, ordered.prompt]  # (resamples, n)
        flagged = np.cumsum(often, axis=1)[:, cut_at]
        hits = np.cumsum(often * ordered.unsafe, axis=1)[:, cut_at]
        all_of_them = often.sum(axis=1, keepdims=True)
        good = (flagged >= MIN_FLAGGED) & (hits >= target * flagged) & (flagged < all_of_them)
        found = good.any(axis=1)
        last = good.shape[1] - 1 - np.argmax(good[found, ::-1], axis=1)
        rewards += [ordered.between(int(cut)) for cut in last]
    taus = sigmoid(rewards)
    return _Resamples(weights, _interval(taus), len(rewards) / _RESAMPLES)


def _crossfitted(
    labels: Labels, calibration: Calibration, target: float, *, folds: int, seed: int
) -> tuple[float | None, float]:
    _, prompt = np.unique(labels.prompt, return_inverse=True)
    flagged = np.zeros(len(prompt), dtype=np.bool_)
    for held in prompt_folds(int(prompt.max()) + 1, folds=folds, seed=seed):
        inside = held[prompt]
        others = Labels(labels.reward[~inside], labels.is_safe[~inside], prompt[~inside])
        ordered = _Ordered.of(others, calibration)
        cut = ordered.cut(target)
        if cut is not None:
            flagged |= inside & (calibrate(labels.reward, calibration) < ordered.between(cut))
    hits = int((flagged & ~labels.is_safe).sum())
    precision = hits / int(flagged.sum()) if flagged.any() else None
    return precision, hits / labels.num_unsafe


def _interval(values: Floats) -> tuple[float, float] | None:
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)
