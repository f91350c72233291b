"""Per-token estimates of KL(π_θ‖π_0) from the log-probabilities of the sampled tokens.

Which estimate belongs where is a matter of gradients. E[∇log π_θ · estimate], the expected policy
gradient of an estimate that is part of the *reward*, is ∇KL(π_θ‖π_0) for k1 alone; with k3 it is
∇KL(π_θ‖π_0) − ∇KL(π_0‖π_θ), and with k2 neither. As a differentiated *loss* term k2 gives
∇KL(π_θ‖π_0), k3 ∇KL(π_0‖π_θ), and k1 nothing. To *watch* a run, k3 varies least.

Source: arXiv 2510.01555; arXiv 2512.21852.
"""

import math
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

DEFAULT_KL_CLIP = 10.0
"""Nats per token, as OpenRLHF bounds every estimate and verl its k3."""

MAX_EXPONENT = 20.0
"""e^20 ≈ 4.9e8, verl's bound: k3 and sums of millions of such tokens stay finite in float32."""

MAX_LOG_RATIO = 1e6
"""Bound of |d|, so that d², times any β and summed over a response, stays finite in float32."""

_SERIES_BELOW = 0.03
_SERIES = tuple(1.0 / f for f in (2.0, 6.0, 24.0, 120.0, 720.0, 5040.0, 40320.0, 362880.0))


class TokenKL(NamedTuple):
    """A sequence's KL estimates.

    Attributes:
        values: nats per token, (tokens,), float64; 0 where the mask is False.
        mask: the tokens that count, (tokens,), bool.
        num_clamped: how many tokens' log-ratio was clamped to keep an unclipped estimate finite.
        num_clipped: how many tokens' estimate was beyond the clip.
    """

    values: FloatArray
    mask: BoolArray
    num_clamped: int
    num_clipped: int = 0

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
    clip: float | None = DEFAULT_KL_CLIP,
) -> TokenKL:
    """Estimates of KL(π_θ‖π_0) per token, tokens sampled from π_θ.

    d = logprobs − ref_logprobs;  k1 = d;  k2 = d²/2;  k3 = e^(−d) − 1 + d; each within ±clip

    k1 and k3 are unbiased, k3 is never negative and varies less; k2 is biased and low in variance.
    A clip biases those tokens that it bounds.

    Args:
        logprobs: ln π_θ(token), (tokens,), nats.
        ref_logprobs: ln π_0(token), (tokens,), nats.
        estimator: which of the three.
        mask: True where a token counts, (tokens,); None: all do. What stands at masked places is
            never looked at and may be NaN.
        clip: bound of a token's estimate to either side, nats, > 0; None: only what keeps the
            estimates finite in float32 (|d| ≤ 1e6, k3's exponent ≤ 20).

    Returns:
        The estimates, with the mask and the numbers of bounded tokens.

    Raises:
        ShapeMismatch: the arrays differ in length; `field` names the one that differs.
        InputError: an unmasked log-probability is not finite, the estimator is unknown, or the
            clip is not a finite number above 0.
    Source: Schulman 2020, "Approximating KL Divergence", joschu.net/blog/kl-approx.html, with
    log r = ln π_0 − ln π_θ = −d.
    """
    if clip is not None and not 0.0 < clip < math.inf:
        raise InputError("kl_clip must be a finite number above 0", field="kl_clip")
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
    estimate = _estimate(d, estimator)
    values = estimate if clip is None else np.clip(estimate, -clip, clip)
    is_clipped = values != estimate
    # where the clip bounds the estimate, what the clamp did before doesn't show
    is_clamped = (d != raw) & ~is_clipped
    return TokenKL(
        values, counts, int(np.count_nonzero(is_clamped)), int(np.count_nonzero(is_clipped))
    )


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
