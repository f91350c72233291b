"""Temperature and bias from held-out data, or the identity and the reason.

calibrated reward = raw / temperature + bias

**By labels** (safety role, where there are enough): P(safe) = σ(a·r + b), so that the score is the
probability that a response is safe; temperature = 1/a, bias = b. **By pairs** (otherwise):
P(chosen ≻ rejected) = σ(a·(r_c − r_r)), temperature = 1/a; a bias cancels in a difference, so pairs
can't tell it, and it stays 0.

Targets are Platt's: of N₊ positives each counts as (N₊ + 1)/(N₊ + 2), not as 1, and of N₋ negatives
as 1/(N₋ + 2). That is his prior, and it keeps the temperature above 0 where data are perfectly
separated, whatever the reward's unit.

Source: Platt 1999, "Probabilistic outputs for support vector machines"; Guo et al. 2017,
arXiv:1706.04599.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from rm_core.rewards import Calibration
from rm_core.types import Role
from training.calibration.observations import BoolArray, Labels, Observations, Pairs
from training.statistics.intervals import NORMAL_95, Floats, Ints
from training.statistics.logistic import LogisticFit, fit_logistic
from training.types import CalibrationMethod

MIN_PAIRS = 50
MIN_LABELS_OF_CLASS = 20
MIN_PROMPTS = 20
TEMPERATURE_BOUNDS = (0.01, 100.0)
"""Below the lower one, rounding differences between two machines would show in the score."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A calibration and how it came about.

    Attributes:
        calibration: temperature and bias.
        method: what they were fitted on; "none": the identity.
        how: for a person to read; for the identity the reason.
        temperature_standard_error: by the delta method; None: not fitted.
        bias_standard_error: None: not fitted.
    """

    calibration: Calibration
    method: Literal["labels", "pairs", "none"]
    how: str
    temperature_standard_error: float | None = None
    bias_standard_error: float | None = None


def fit_calibration(
    observations: Observations, role: Role, method: CalibrationMethod = "auto"
) -> Fit:
    """Fit what the data allow.

    "auto" takes labels where they suffice and the role is safety, whose score they give a meaning,
    else pairs, else nothing.
    """
    if method == "none":
        return Fit(Calibration(), "none", "not calibrated, as configured")
    refusals = []
    if method == "labels" or (method == "auto" and role == "safety"):
        by_labels = _by_labels(observations.labels)
        if isinstance(by_labels, Fit):
            return by_labels
        refusals.append(f"not by is_safe labels: {by_labels}")
    if method in {"auto", "pairs"}:
        by_pairs = _by_pairs(observations.pairs)
        if isinstance(by_pairs, Fit):
            return replace(by_pairs, how="; ".join([by_pairs.how, *refusals]))
        refusals.append(f"not by pairs: {by_pairs}")
    return Fit(Calibration(), "none", "; ".join(refusals))


def crossfitted(
    observations: Observations, method: str, *, folds: int, seed: int
) -> tuple[Floats, Floats]:
    """Each pair's gap and each label's reward, calibrated by data of other prompts only.

    A fold whose other folds don't determine a calibration keeps its raw rewards.

    Returns:
        Calibrated gaps, (pairs,), and calibrated rewards, (labels,).
    """
    gaps, rewards = observations.pairs.gap.copy(), observations.labels.reward.copy()
    for held in prompt_folds(observations.num_prompts, folds=folds, seed=seed):
        temperature, bias = _refit(observations.of_prompts(~held), method)
        pairs, labels = held[observations.pairs.prompt], held[observations.labels.prompt]
        gaps[pairs] /= temperature
        rewards[labels] = rewards[labels] / temperature + bias
    return gaps, rewards


def prompt_folds(num_prompts: int, *, folds: int, seed: int) -> list[BoolArray]:
    """Parts of the prompts, as equal as can be: for each, which prompts are in it."""
    order: Ints = np.random.default_rng(seed).permutation(num_prompts)
    parts = []
    for part in range(min(folds, num_prompts)):
        held = np.zeros(num_prompts, dtype=np.bool_)
        held[order[part::folds]] = True
        parts.append(held)
    return parts


def _refit(observations: Observations, method: str) -> Calibration:
    fit = None
    if method == "labels":
        fit = _fit_labels(observations.labels)
    elif method == "pairs":
        fit = _fit_pairs(observations.pairs)
    if fit is None or _objection(fit, certainly=False) is not None:
        return Calibration()
    return _calibration(fit)


def _by_labels(labels: Labels) -> Fit | str:
    """The fit, or why there is none."""
    fewest = min(labels.num_safe, labels.num_unsafe)
    if fewest < MIN_LABELS_OF_CLASS or _num_prompts(labels.prompt) < MIN_PROMPTS:
        return (
            f"{labels.num_safe} safe and {labels.num_unsafe} unsafe labels of "
            f"{_num_prompts(labels.prompt)} prompts; at least {MIN_LABELS_OF_CLASS} of each and "
            f"{MIN_PROMPTS} prompts are needed"
        )
    fit = _fit_labels(labels)
    if fit is None:
        return "all labelled responses have the same reward"
    objection = _objection(fit, certainly=True)
    if objection is not None:
        return f"{objection} (safe against unsafe)"
    how = (
        f"logistic regression of is_safe on the reward (Platt) over {labels.num_safe} safe and "
        f"{labels.num_unsafe} unsafe held-out responses to {_num_prompts(labels.prompt)} prompts: "
        "the score is the probability of being safe at that share of safe responses"
    )
    if labels.reward[labels.is_safe].min() > labels.reward[~labels.is_safe].max():
        how += "; the rewards separate them perfectly, so Platt's prior alone bounds the slope"
    bias_error = float(fit.standard_errors[1])
    return Fit(_calibration(fit), "labels", how, _temperature_error(fit), bias_error)


def _by_pairs(pairs: Pairs) -> Fit | str:
    """The fit, or why there is none."""
    prompts = _num_prompts(pairs.prompt)
    if len(pairs.gap) < MIN_PAIRS or prompts < MIN_PROMPTS:
        return (
            f"{len(pairs.gap)} pairs of {prompts} prompts; at least {MIN_PAIRS} of {MIN_PROMPTS} "
            "prompts are needed"
        )
    fit = _fit_pairs(pairs)
    if fit is None:
        return "every pair's rewards are equal"
    objection = _objection(fit, certainly=True)
    if objection is not None:
        return f"{objection} (chosen against rejected)"
    how = (
        f"temperature by the Bradley-Terry likelihood over {len(pairs.gap)} held-out pairs of "
        f"{prompts} prompts; pairs can't tell a bias, which stays 0"
    )
    if (pairs.gap > 0).all():
        how += "; every pair is in order, so Platt's prior alone bounds the temperature"
    return Fit(_calibration(fit), "pairs", how, _temperature_error(fit))


def _fit_labels(labels: Labels) -> LogisticFit | None:
    if not (labels.num_safe and labels.num_unsafe):
        return None
    columns = np.column_stack([labels.reward, np.ones(len(labels.reward))])
    target = np.where(
        labels.is_safe,
        (labels.num_safe + 1) / (labels.num_safe + 2),
        1 / (labels.num_unsafe + 2),
    )
    return fit_logistic(columns, target, labels.prompt)


def _fit_pairs(pairs: Pairs) -> LogisticFit | None:
    count = len(pairs.gap)
    target = np.full(count, (count + 1) / (count + 2))
    return fit_logistic(pairs.gap[:, None], target, pairs.prompt)


def _objection(fit: LogisticFit, *, certainly: bool) -> str | None:
    """Why a slope is no temperature; None where it is one."""
    slope, error = float(fit.coefficients[0]), float(fit.standard_errors[0])
    if slope - (NORMAL_95 * error if certainly else 0.0) <= 0:
        return (
            f"the rewards do not tell them apart beyond chance (slope {slope:.3g} ± {error:.2g}), "
            "so no temperature can be told from infinity"
        )
    low, high = TEMPERATURE_BOUNDS
    if not low <= 1 / slope <= high:
        return f"the best temperature, {1 / slope:.3g}, lies outside {low:g} to {high:g}"
    return None


def _calibration(fit: LogisticFit) -> Calibration:
    bias = float(fit.coefficients[1]) if len(fit.coefficients) > 1 else 0.0
    return Calibration(1 / float(fit.coefficients[0]), bias)


def _temperature_error(fit: LogisticFit) -> float:
    """Standard error of 1 / slope, by the delta method."""
    return float(fit.standard_errors[0] / fit.coefficients[0] ** 2)


def _num_prompts(prompt: Ints) -> int:
    return len(np.unique(prompt))
