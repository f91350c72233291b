"""How sure a figure is: 95 % intervals, by Wilson and by resampling whole prompts.

Pairs and responses of one prompt share its text and its difficulty, so resampling them one by one
would feign certainty. Every interval here resamples prompts, except Wilson's: finite values (n,)
come with `prompt_keys`, the prompt of each. Equal seeds and numbers of prompts draw the same
prompts, so that two models are compared on the same resamples.

Resamples of prompts that are all right are all alike, and their percentiles would feign certainty:
of five such prompts "100.0–100.0 %". At an end of a figure's `span` its interval is therefore
Wilson's of that many prompts, 56.6–100.0 %.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NORMAL_95 = 1.959963984540054
"""Standard errors to either side of 95 % of a normal distribution."""

RESAMPLES = 2000
_BLOCK_DRAWS = 2_000_000  # draws held at once: 16 MB


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float


SHARE = Interval(0.0, 1.0)
"""The span of shares and probabilities."""

CORRELATION = Interval(-1.0, 1.0)
"""The span of rank correlations."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean, and what it is over.

    Attributes:
        value: the mean.
        count: values that it is over.
        prompts: different prompts among them.
        interval: from resampling prompts, or Wilson's at an end of the span; None where there are
            fewer than two.
    """

    value: float
    count: int
    prompts: int
    interval: Interval | None


def estimate(
    values: ArrayLike,
    prompt_keys: Sequence[Hashable],
    *,
    seed: int = 0,
    span: Interval | None = None,
) -> Estimate | None:
    """The mean of values with its interval by prompts; None of no values.

    `span` is what the values are known to lie in: `SHARE`, `CORRELATION`, or None for nothing.
    """
    given = np.asarray(values, dtype=np.float64)
    if not given.size:
        return None
    prompts = len(set(prompt_keys))
    interval = bootstrap_interval(given, prompt_keys, seed=seed, span=span) if prompts > 1 else None
    return Estimate(float(given.mean()), int(given.size), prompts, interval)


def estimate_by_prompt(
    values: ArrayLike,
    prompt_keys: Sequence[Hashable],
    *,
    seed: int = 0,
    span: Interval | None = None,
) -> Estimate | None:
    """Like `estimate`, but every prompt weighs the same however many values it has."""
    means = prompt_means(np.asarray(values, dtype=np.float64), prompt_keys)
    whole = estimate(means, range(len(means)), seed=seed, span=span)
    return None if whole is None else replace(whole, count=len(prompt_keys))


def prompt_means(values: Floats, prompt_keys: Sequence[Hashable]) -> Floats:
    """Mean of each prompt's values, (prompts,), in order of appearance."""
    cluster = clusters(prompt_keys)
    means: Floats = np.bincount(cluster, weights=values) / np.bincount(cluster)
    return means


def bootstrap_by_prompt(values: Floats, prompt_keys: Sequence[Hashable], *, seed: int) -> Floats:
    """The mean over prompts of each prompt's mean, of each resample, (resamples,)."""
    means = prompt_means(values, prompt_keys)
    return np.concatenate([drawn @ means for drawn in draws(len(means), seed=seed)]) / len(means)


def clusters(prompt_keys: Iterable[Hashable]) -> NDArray[np.int64]:
    """A number from 0 for each different key, in order of appearance, (n,)."""
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(key, len(seen)) for key in prompt_keys], dtype=np.int64)


def wilson_interval(successes: float, trials: int) -> Interval:
    """Wilson's score interval of a share; half successes are allowed.

    (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n)

    Source: E. B. Wilson, JASA 22 (1927), 209–212.
    """
    z, p = NORMAL_95, successes / trials
    centre = p + z * z / (2 * trials)
    spread = z * np.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return Interval(float((centre - spread) / scale), float((centre + spread) / scale))


def honest_interval(interval: Interval, span: Interval | None, prompts: int) -> Interval:
    """The interval as it is; Wilson's of that many prompts where it is a point at the span's end.

    The mean of values in [0, 1] is at least the share of ones, so that of n ones alone the
    binomial bound holds, about the "rule of three", 1 − 3/n; likewise at the other end. A point in
    between stays: the accuracy of a scorer that always ties is exactly one half.

    Args:
        interval: by resampling.
        span: what the figure lies in; None: unknown, and nothing can be said instead.
        prompts: how many were resampled.
    """
    if span is None:
        return interval
    width = span.high - span.low
    rounding = 1e-9 * width
    unseen = width * wilson_interval(0, prompts).high
    if interval.low >= span.high - rounding:
        return Interval(span.high - unseen, span.high)
    if interval.high <= span.low + rounding:
        return Interval(span.low, span.low + unseen)
    return interval


def bootstrap_interval(
    credit: Floats, prompt_keys: Sequence[Hashable], *, seed: int, span: Interval | None = None
) -> Interval:
    """Percentile interval of the mean credit, resampling whole prompts; `span` as in `estimate`."""
    sums = np.column_stack([credit, np.ones(len(credit))])
    means = bootstrap(sums, prompt_keys, lambda drawn: drawn[:, 0] / drawn[:, 1], seed=seed)
    return honest_interval(percentile_interval(means), span, len(set(prompt_keys)))


def bootstrap(
    terms: Floats,
    prompt_keys: Sequence[Hashable],
    statistic: Callable[[Floats], Floats],
    *,
    seed: int,
) -> Floats:
    """A figure that is a function of sums, of each resample of prompts, (resamples,).

    `statistic` makes it from the sums of the rows of `terms`, (n, k), in each resample,
    (resamples, k).
    """
    cluster = clusters(prompt_keys)
    sums = np.column_stack([np.bincount(cluster, weights=column) for column in terms.T])
    return statistic(np.concatenate([drawn @ sums for drawn in draws(len(sums), seed=seed)]))


def estimate_of_sums(
    terms: Floats,
    prompt_keys: Sequence[Hashable],
    statistic: Callable[[Floats], Floats],
    *,
    count: int,
    seed: int,
) -> Estimate:
    """A figure of `count` values that is a function of sums, as of `bootstrap`, with interval."""
    prompts = len(set(prompt_keys))
    interval = None
    if prompts > 1:
        resampled = bootstrap(terms, prompt_keys, statistic, seed=seed)
        interval = percentile_interval(resampled) if np.isfinite(resampled).any() else None
    return Estimate(float(statistic(terms.sum(axis=0)[None])[0]), count, prompts, interval)


def draws(num_prompts: int, *, seed: int, resamples: int = RESAMPLES) -> Iterable[Floats]:
    """How often each prompt is drawn in each resample, in blocks of (resamples, prompts).

    Each resample draws as many as there are, with replacement.
    """
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK_DRAWS // num_prompts)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(num_prompts, size=(rows, num_prompts))
        drawn += np.arange(rows)[:, None] * num_prompts
        counts = np.bincount(drawn.ravel(), minlength=rows * num_prompts)
        yield counts.reshape(rows, num_prompts).astype(np.float64)


def interval_over_seeds(
    values: Floats,
    prompt_keys: Sequence[Hashable],
    *,
    seed: int = 0,
    span: Interval | None = None,
) -> Interval:
    """Percentile interval of the mean over trainings and prompts, resampling both independently.

    `values` has a row for each training's seed, (seeds, n). This is the pigeonhole bootstrap, which
    errs on the wide side. Equal prompts and numbers of trainings meet equal draws, so that the
    interval of a difference is that of paired figures. `span` as in `estimate`.

    Source: Owen, Annals of Applied Statistics 1(2) (2007), 386-411.
    """
    cluster = clusters(prompt_keys)
    rows = (*values, np.ones(len(cluster)))
    sums = np.stack([np.bincount(cluster, weights=row) for row in rows], axis=1)
    # (resamples, seeds + 1): sums of values, the last of ones.
    by_prompt = np.concatenate([drawn @ sums for drawn in draws(len(sums), seed=seed)])
    by_seed = np.concatenate(list(draws(len(values), seed=seed + 1)))
    totals = (by_prompt[:, :-1] * by_seed).sum(axis=1)
    interval = percentile_interval(totals / (by_prompt[:, -1] * len(values)))
    return honest_interval(interval, span, len(sums))


def percentile_interval(figures: Floats) -> Interval:
    """The middle 95 % of resampled figures; resamples without a figure (NaN) are left out."""
    tail = (1 - 0.95) / 2
    low, high = np.nanquantile(figures, [tail, 1 - tail])
    return Interval(float(low), float(high))
