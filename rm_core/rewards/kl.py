"""Per-token estimates of KL(π_θ‖π_0) from the log-probabilities of the sampled tokens."""

from typing import Literal, NamedTuple, get_args

import numpy as np

from rm_core.errors import InputError
from rm_core.rewards.arrays import (
    BoolArray,
    BoolsLike,
    FloatArray,
    FloatsLike,
    as_bools,
    as_floats,
    require_length,
)

KLEstimator = Literal["k1", "k2", "k3"]
KL_ESTIMATORS: tuple[KLEstimator, ...] = get_args(KLEstimator)

MAX_EXPONENT = 600.0
"""e^600 ≈ 4e260: k3 stays finite also when millions of such tokens are summed and scaled."""

MAX_LOG_RATIO = 1e100
"""Bound of |d|, so that d² and its sums stay in float64."""

_SERIES_BELOW = 0.03
_SERIES = tuple(1.0 / f for f in (2.0, 6.0, 24.0, 120.0, 720.0, 5040.0, 40320.0, 362880.0))


class TokenKL(NamedTuple):
    """A sequence's KL estimates.

    Attributes:
        values: nats per token, (tokens,), float64; 0 where the mask is False.
        mask: the tokens that count, (tokens,), bool.
        num_clamped: how many tokens' log-ratio was clamped to keep the estimate finite.
    """

    values: FloatArray
    mask: BoolArray
    num_clamped: int

    @property
    def total(self) -> float:
        """The sequence's estimate, Σ over its tokens, in nats."""
        return float(self.values.sum())


def token_kl(
    logprobs: FloatsLike,
    ref_logprobs: FloatsLike,
    *,
    estimator: KLEstimator = "k1",
    mask: BoolsLike | None = None,
) -> TokenKL:
    """Estimates of KL(π_θ‖π_0) per token, tokens sampled from π_θ.

    d = logprobs − ref_logprobs;  k1 = d;  k2 = d²/2;  k3 = e^(−d) − 1 + d

    k1 and k3 are unbiased, k3 is never negative and varies less; k2 is biased and low in variance.

    Args:
        logprobs: ln π_θ(token), (tokens,), nats.
        ref_logprobs: ln π_0(token), (tokens,), nats.
        estimator: which of the three.
        mask: True where a token counts, (tokens,); None: all do. What stands at masked places is
            never looked at and may be NaN.

    Returns:
        The estimates, with the mask and the number of clamped tokens.

    Raises:
        ShapeMismatch: the arrays differ in length; `field` names the one that differs.
        InputError: an unmasked log-probability is not finite, or the estimator is unknown.
    Source: Schulman 2020, "Approximating KL Divergence", joschu.net/blog/kl-approx.html, with
    log r = ln π_0 − ln π_θ = −d.
    """
    policy = as_floats(logprobs, "logprobs")
    reference = as_floats(ref_logprobs, "ref_logprobs")
    require_length(len(reference), len(policy), "ref_logprobs", "logprobs")
    counts = np.ones(len(policy), np.bool_) if mask is None else as_bools(mask, "mask")
    require_length(len(counts), len(policy), "mask", "logprobs")
    for field, values in (("logprobs", policy), ("ref_logprobs", reference)):
        if not np.isfinite(values[counts]).all():
            raise InputError(
                f"{field} holds a value that is not finite; mask that token or drop the item",
                field=field,
            )
    with np.errstate(over="ignore", invalid="ignore"):
        raw = np.where(counts, policy - reference, 0.0)
    lowest = -MAX_EXPONENT if estimator == "k3" else -MAX_LOG_RATIO
    d = np.clip(raw, lowest, MAX_LOG_RATIO)
    return TokenKL(_estimate(d, estimator), counts, int(np.count_nonzero(d != raw)))


def _estimate(d: FloatArray, estimator: KLEstimator) -> FloatArray:
    if estimator == "k1":
        return d
    if estimator == "k2":
        return d * d / 2.0
    if estimator == "k3":
        return _k3(d)
    raise InputError(f"kl_estimator is one of {', '.join(KL_ESTIMATORS)}", field="kl_estimator")


def _k3(d: FloatArray) -> FloatArray:
    """e^(−d) − 1 + d without cancellation: Σ_{k≥2} (−d)^k / k! near 0, expm1 elsewhere."""
    near = np.where(np.abs(d) < _SERIES_BELOW, d, 0.0)
    series = np.zeros_like(near)
    for coefficient in reversed(_SERIES):
        series = coefficient - near * series
    exact = np.where(near != 0.0, near * near * series, np.expm1(-d) + d)
    return np.maximum(exact, 0.0)
