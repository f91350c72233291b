"""How far probabilities are from what happens: likelihood, Brier score, ECE and its diagram.

**Pairs**: the predicted winner's probability σ(|gap|), in [1/2, 1], against whether it was the
chosen response; a tie is half right. **Labels**: P(safe) = σ(reward), in [0, 1], against `is_safe`.

ECE = Σ over bins of (bin's share) · |mean probability − share that came true|

with bins of equal mass (quantiles of the probabilities, about 20 or more in each; equal
probabilities share a bin) and, beside it, the customary 15 bins of equal width. In small samples
ECE is above 0 also for a perfect forecast; `ece_if_calibrated` says by how much.

Source: Guo et al. 2017, arXiv:1706.04599; Nixon et al. 2019, arXiv:1904.01685 (equal mass).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from training.calibration.observations import BoolArray
from training.evaluation.accuracy import credit_of
from training.statistics.intervals import Floats, Ints

MAX_BINS = 15
MIN_PER_BIN = 20
_DRAWS = 200


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One point of the reliability diagram.

    Attributes:
        predicted: mean probability in the bin.
        observed: share that came true.
        count: how many.
    """

    predicted: float
    observed: float
    count: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """How good probabilities are on one set.

    Attributes:
        count: pairs or labels.
        nll: mean negative log-likelihood, nats.
        brier: mean squared distance from 0 or 1.
        ece: expected calibration error over bins of equal mass.
        ece_equal_width: the same over 15 bins of equal width.
        ece_if_calibrated: what `ece` would be on average if every probability were true.
        bins: of equal mass, the least probable first.
        bins_equal_width: of equal width, without empty ones.
    """

    count: int
    nll: float
    brier: float
    ece: float
    ece_equal_width: float
    ece_if_calibrated: float
    bins: tuple[ReliabilityBin, ...]
    bins_equal_width: tuple[ReliabilityBin, ...]


def pair_reliability(gap: Floats, *, seed: int = 0) -> Reliability | None:
    """Of P(chosen ≻ rejected) = σ(gap); None without a pair."""
    if not len(gap):
        return None
    return _reliability(
        expit(np.abs(gap)),
        credit_of(gap),
        lowest=0.5,
        nll=float(np.logaddexp(0.0, -gap).mean()),
        brier=float(np.mean(expit(-gap) ** 2)),
        seed=seed,
    )


def label_reliability(reward: Floats, is_safe: BoolArray, *, seed: int = 0) -> Reliability | None:
    """Of P(safe) = σ(reward); None without a label."""
    if not len(reward):
        return None
    came_true = is_safe.astype(np.float64)
    return _reliability(
        expit(reward),
        came_true,
        lowest=0.0,
        nll=float(np.mean(np.logaddexp(0.0, reward) - came_true * reward)),
        brier=float(np.mean((expit(reward) - came_true) ** 2)),
        seed=seed,
    )


def equal_mass_bins(probability: Floats) -> Ints:
    """The bin of each probability; equal probabilities are in one bin, (n,)."""
    count = max(1, min(MAX_BINS, len(probability) // MIN_PER_BIN))
    inner = np.unique(np.quantile(probability, np.linspace(0, 1, count + 1)[1:-1]))
    return np.searchsorted(inner, probability, side="left")


def equal_width_bins(probability: Floats, *, lowest: float) -> Ints:
    """The bin of each probability among 15 of equal width in [lowest, 1], (n,)."""
    place = (probability - lowest) / (1 - lowest) * MAX_BINS
    return np.clip(np.floor(place), 0, MAX_BINS - 1).astype(np.int64)


def expected_calibration_error(probability: Floats, came_true: Floats, bins: Ints) -> float:
    """Mean over all entries of |mean probability − share that came true| of their bins."""
    # Each bin weighs count/n, and its means are sums/count: the count cancels.
    return float(np.abs(np.bincount(bins, probability - came_true)).sum() / len(bins))


def _reliability(
    probability: Floats,
    came_true: Floats,
    *,
    lowest: float,
    nll: float,
    brier: float,
    seed: int,
) -> Reliability:
    mass = equal_mass_bins(probability)
    width = equal_width_bins(probability, lowest=lowest)
    return Reliability(
        count=len(probability),
        nll=nll,
        brier=brier,
        ece=expected_calibration_error(probability, came_true, mass),
        ece_equal_width=expected_calibration_error(probability, came_true, width),
        ece_if_calibrated=_ece_if_calibrated(probability, mass, seed=seed),
        bins=_diagram(probability, came_true, mass),
        bins_equal_width=_diagram(probability, came_true, width),
    )


def _ece_if_calibrated(probability: Floats, bins: Ints, *, seed: int) -> float:
    generator = np.random.default_rng(seed)
    errors = []
    for _ in range(_DRAWS):
        came_true = (generator.random(len(probability)) < probability).astype(np.float64)
        errors.append(expected_calibration_error(probability, came_true, bins))
    return float(np.mean(errors))


def _diagram(probability: Floats, came_true: Floats, bins: Ints) -> tuple[ReliabilityBin, ...]:
    counts = np.bincount(bins)
    predicted, observed = np.bincount(bins, probability), np.bincount(bins, came_true)
    return tuple(
        ReliabilityBin(float(p / n), float(o / n), int(n))
        for p, o, n in zip(predicted, observed, counts, strict=True)
        if n
    )
