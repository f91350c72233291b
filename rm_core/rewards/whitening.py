"""WHITEN: rewards of zero mean and unit variance, by mergeable running statistics."""

import math
from typing import NamedTuple

import numpy as np

from rm_core.errors import InputError
from rm_core.rewards.arrays import BoolArray, FloatArray, FloatsLike, as_floats

DEFAULT_EPS = 1e-8
"""Added to the variance under the root, in squared reward units."""

MAX_MAGNITUDE = 1e100
"""Larger values count as non-finite: their squares would leave float64 and spoil a stream."""


class Statistics(NamedTuple):
    """Count, mean and sum of squared deviations: all that running whitening remembers.

    A value weighs 1, or with a half-life 2^(−age / half_life), its age being the number of values
    that came after it; then count = Σ w, and mean and m2 are weighted likewise.

    Attributes:
        count: Σ w, ≥ 0: the number of values where each weighs 1.
        mean: Σ w·x / Σ w, in reward units.
        m2: Σ w·(x − mean)², in squared reward units, ≥ 0.
        degrees_of_freedom: Σ w − Σ w² / Σ w, what m2 is divided by for a variance without bias;
            None where each value weighs 1 and it is count − 1.
    """

    count: float = 0.0  # type: ignore[assignment]  # a field here, tuple's method has no use
    mean: float = 0.0
    m2: float = 0.0
    degrees_of_freedom: float | None = None

    @property
    def variance(self) -> float | None:
        """The unbiased variance, m2 over the degrees of freedom; None below two values.

        Source: that of reliability weights; Galassi et al., GNU Scientific Library, "Weighted
        Samples": Σ w / ((Σ w)² − Σ w²) · Σ w·(x − mean)².
        """
        degrees = self.degrees_of_freedom
        if degrees is None:
            return self.m2 / (self.count - 1.0) if self.count >= 2.0 else None
        return self.m2 / degrees if degrees > 0.0 else None

    @property
    def std(self) -> float | None:
        """The root of the unbiased variance; None below two values."""
        variance = self.variance
        return None if variance is None else math.sqrt(variance)


class Whitened(NamedTuple):
    """Whitened values and whether they are on the common scale.

    Attributes:
        values: (n,), float64; NaN where the input was not finite.
        scaled: False where the statistics held fewer than two values, so that the input passed
            as it was.
    """

    values: FloatArray
    scaled: bool


def admissible(values: FloatArray) -> BoolArray:
    """Which values may enter statistics: finite and within ±1e100, (n,)."""
    return np.abs(values) <= MAX_MAGNITUDE  # False for NaN too


def statistics_of(values: FloatsLike, *, half_life: float | None = None) -> Statistics:
    """The statistics of a batch, two passes with the compensated second moment.

    Args:
        values: (n,), the oldest first; inadmissible values are left out.
        half_life: in values, > 0: each weighs half as much as one that comes so much later; None:
            all weigh 1.

    Returns:
        The statistics of the admissible values; all 0 where there are none.

    Raises:
        InputError: the half-life is not a positive number.
    Source: Chan, Golub, LeVeque 1983, "Algorithms for Computing the Sample Variance", eq. 1.7
    (corrected two-pass), each term by its weight.
    """
    given = as_floats(values, "values")
    kept = given[admissible(given)]
    if kept.size == 0:
        return Statistics()
    if half_life is None:
        weights, degrees = np.ones(kept.size), None
    else:
        _require_half_life(half_life)
        weights = np.exp2(-np.arange(kept.size - 1.0, -1.0, -1.0) / half_life)
        # (Σw)² − Σw² as twice the sum over pairs, which doesn't cancel
        degrees = 2.0 * math.fsum(weights[1:] * np.cumsum(weights)[:-1]) / math.fsum(weights)
    count = math.fsum(weights)
    mean = math.fsum(weights * kept) / count
    deviations = kept - mean
    weighted = weights * deviations
    # Σ w·d would be 0 in exact arithmetic; its square takes out the mean's rounding
    m2 = math.fsum(weighted * deviations) - math.fsum(weighted) ** 2 / count
    return Statistics(count, mean, max(m2, 0.0), degrees)


def merge(a: Statistics, b: Statistics) -> Statistics:
    """The statistics of two sets together, from each one's alone.

    δ = mean_b − mean_a;  mean = mean_a + δ·n_b/n;  m2 = m2_a + m2_b + δ²·n_a·n_b/n
    degrees of freedom ν = (n_a·ν_a + n_b·ν_b + 2·n_a·n_b) / n

    With n = Σ w the formulas hold for weighted values as they are; ν follows from
    n·ν = (Σ w)² − Σ w², whose mixed terms are 2·n_a·n_b.

    Source: Chan, Golub, LeVeque 1979, "Updating Formulae and a Pairwise Algorithm for Computing
    Sample Variances", STAN-CS-79-773.
    """
    if a.count == 0.0:
        return b
    if b.count == 0.0:
        return a
    count = a.count + b.count
    delta = b.mean - a.mean
    # the weighted form is symmetric and keeps its precision where both sets are equally large
    mean = a.mean * (a.count / count) + b.mean * (b.count / count)
    mixed = a.count * (b.count / count)
    m2 = a.m2 + b.m2 + delta * delta * mixed
    if a.degrees_of_freedom is None and b.degrees_of_freedom is None:
        return Statistics(count, mean, m2)
    degrees = _degrees(a) * (a.count / count) + _degrees(b) * (b.count / count) + 2.0 * mixed
    return Statistics(count, mean, m2, degrees)


def decay(statistics: Statistics, num_new: float, *, half_life: float | None) -> Statistics:
    """Let the past weigh less by the samples that arrive: mean and variance keep their values.

    Every weight is multiplied by 2^(−num_new / half_life), and so are count, m2 and degrees of
    freedom: their quotients stay, and a scale once known is not lost. Merged with the new samples'
    `statistics_of` by the same half-life it is what all samples at once would give.

    Args:
        statistics: the past.
        num_new: how many samples arrive, ≥ 0.
        half_life: samples after which the past counts half, > 0; None forgets nothing.

    Returns:
        The past's statistics with a smaller count.

    Raises:
        InputError: the half-life is not a positive number.
    Source: exponential forgetting; see Finch 2009, "Incremental calculation of weighted mean and
    variance", §9, for the weighted form.
    """
    if half_life is None or statistics.count == 0.0:
        return statistics
    _require_half_life(half_life)
    factor = math.exp2(-num_new / half_life)
    count, mean, m2, _ = statistics
    return Statistics(count * factor, mean, m2 * factor, _degrees(statistics) * factor)


def _require_half_life(half_life: float) -> None:
    if not half_life > 0.0:
        raise InputError("the half-life must be above 0 samples", field="half_life")


def _degrees(statistics: Statistics) -> float:
    known = statistics.degrees_of_freedom
    return max(statistics.count - 1.0, 0.0) if known is None else known


def from_baseline(mean: float, std: float, weight: float) -> Statistics:
    """Statistics as if `weight` reference samples of this mean and deviation had been seen.

    Args:
        mean: of the reference rewards.
        std: their deviation, > 0.
        weight: how many samples the baseline counts for, ≥ 2.

    Returns:
        Statistics whose mean and std are the given ones.

    Raises:
        InputError: an argument is out of its range or not finite.
    """
    if not math.isfinite(mean) or abs(mean) > MAX_MAGNITUDE:
        raise InputError("a baseline's mean must be a finite number", field="mean")
    if not 0.0 < std <= MAX_MAGNITUDE:
        raise InputError("a baseline's std must be a finite number above 0", field="std")
    if not 2.0 <= weight <= MAX_MAGNITUDE:
        raise InputError("a baseline counts for at least 2 samples", field="weight")
    return Statistics(weight, mean, std * std * (weight - 1.0))


def whiten(
    values: FloatsLike,
    statistics: Statistics,
    *,
    shift_mean: bool = True,
    eps: float = DEFAULT_EPS,
) -> Whitened:
    """Values on the scale of the statistics.

    (x − mean) / √(variance + eps), plus the mean again where `shift_mean` is False

    Args:
        values: (n,); inadmissible values come back as NaN.
        statistics: of the stream or of the batch itself.
        shift_mean: False leaves the mean where it was and scales only the deviations.
        eps: added to the variance, > 0, so that a constant batch stays finite.

    Returns:
        The whitened values; the input itself, `scaled=False`, below two values of statistics.

    Raises:
        InputError: `eps` is not above 0.
    Source: WHITEN in LLaMA-2, arXiv:2307.09288 §3.2.3; `shift_mean` as in Stiennon et al. 2020's
    code and TRL's `whiten`.
    """
    if not eps > 0.0:
        raise InputError("eps must be above 0", field="eps")
    given = as_floats(values, "values")
    kept = np.where(admissible(given), given, np.nan)
    variance = statistics.variance
    if variance is None:
        return Whitened(kept, scaled=False)
    whitened = (kept - statistics.mean) / math.sqrt(variance + eps)
    return Whitened(whitened if shift_mean else whitened + statistics.mean, scaled=True)
