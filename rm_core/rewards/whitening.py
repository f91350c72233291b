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

    Attributes:
        count: number of values, ≥ 0; not whole after `decay` or with a baseline's weight.
        mean: their mean, in reward units.
        m2: Σ (x − mean)², in squared reward units, ≥ 0.
    """

    count: float = 0.0  # type: ignore[assignment]  # a field here, tuple's method has no use
    mean: float = 0.0
    m2: float = 0.0

    @property
    def variance(self) -> float | None:
        """The unbiased variance m2 / (count − 1); None below two values."""
        return self.m2 / (self.count - 1.0) if self.count >= 2.0 else None

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


def statistics_of(values: FloatsLike) -> Statistics:
    """The statistics of a batch, two passes with the compensated second moment.

    Args:
        values: (n,); inadmissible values are left out.

    Returns:
        Count, mean and m2 of the admissible values; all 0 where there are none.
    Source: Chan, Golub, LeVeque 1983, "Algorithms for Computing the Sample Variance", eq. 1.7
    (corrected two-pass).
    """
    given = as_floats(values, "values")
    kept = given[admissible(given)]
    if kept.size == 0:
        return Statistics()
    count = float(kept.size)
    mean = math.fsum(kept) / count
    deviations = kept - mean
    # Σd would be 0 in exact arithmetic; its square takes out the mean's rounding
    m2 = math.fsum(deviations * deviations) - math.fsum(deviations) ** 2 / count
    return Statistics(count, mean, max(m2, 0.0))


def merge(a: Statistics, b: Statistics) -> Statistics:
    """The statistics of two sets together, from each one's alone.

    δ = mean_b − mean_a;  mean = mean_a + δ·n_b/n;  m2 = m2_a + m2_b + δ²·n_a·n_b/n

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
    m2 = a.m2 + b.m2 + delta * delta * (a.count * (b.count / count))
    return Statistics(count, mean, m2)


def decay(statistics: Statistics, num_new: float, *, half_life: float | None) -> Statistics:
    """Let the past weigh less by the samples that arrive: mean and variance keep their values.

    factor = 2^(−num_new / half_life); count and m2 are multiplied so that the mean stays and the
    unbiased variance m2 / (count − 1) stays too.

    Args:
        statistics: the past.
        num_new: how many samples arrive, ≥ 0.
        half_life: samples after which the past counts half, > 0; None forgets nothing.

    Returns:
        The past's statistics with a smaller count, never below two where it was two or more, so
        that a scale once known is not lost.

    Raises:
        InputError: the half-life is not a positive number.
    Source: exponential forgetting; see Finch 2009, "Incremental calculation of weighted mean and
    variance", §9, for the weighted form.
    """
    if half_life is None or statistics.count == 0.0:
        return statistics
    if not half_life > 0.0:
        raise InputError("the half-life must be above 0 samples", field="half_life")
    count = statistics.count * math.exp2(-num_new / half_life)
    variance = statistics.variance
    if variance is None:
        return statistics._replace(count=count, m2=statistics.m2 * (count / statistics.count))
    count = max(count, 2.0)
    return Statistics(count, statistics.mean, variance * (count - 1.0))


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
