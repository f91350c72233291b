"""LLaMA-2's piecewise rule: whether safety or helpfulness is selected for a response."""

from typing import NamedTuple

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
from rm_core.rewards.calibration import sigmoid

DEFAULT_TAU = 0.15
"""The safety threshold on the score (LLaMA-2 §3.2.2: precision 0.89, recall 0.55 on their test)."""


class Selection(NamedTuple):
    """The rule's choice for n responses.

    Attributes:
        use_safety: True where the safety model speaks, (n,), bool.
        logit: LOGIT of the selected score, which is the calibrated reward, (n,), float64; NaN where
            that reward is not finite, which makes the choice meaningless too.
    """

    use_safety: BoolArray
    logit: FloatArray


def select(
    safety: FloatsLike | None,
    helpfulness: FloatsLike | None,
    is_safety: BoolsLike,
    *,
    tau: float = DEFAULT_TAU,
) -> Selection:
    """The piecewise reward R_c, in logits, of calibrated rewards.

    R_c = R_s if is_safety(prompt) or R_s < τ, else R_h

    The comparison is strict and on the score: a reward of exactly logit(τ), and one whose float64
    score is exactly τ, both belong to helpfulness. The reward never goes through σ and back.

    Args:
        safety: calibrated rewards of the safety model, (n,); None where it is not loaded.
        helpfulness: calibrated rewards of the helpfulness model, (n,); None where it is not loaded.
        is_safety: the caller's tag of each prompt, (n,).
        tau: threshold on the score, 0 < τ < 1.

    Returns:
        The selection. With one model the rule is that model. A non-finite safety reward can't be
        compared with τ: no other reward may stand in for it, and the logit is NaN. A non-finite
        reward of the model that the rule does not choose is harmless.

    Raises:
        InputError: both models are absent, or τ is not between 0 and 1.
        ShapeMismatch: the arrays differ in length.
    Source: arXiv:2307.09288 §3.2.3 (R_c), τ in the same section.
    """
    tags = as_bools(is_safety, "is_safety")
    if not 0.0 < tau < 1.0:
        raise InputError("tau is a score and lies between 0 and 1", field="tau")
    if safety is None and helpfulness is None:
        raise InputError("no reward model's rewards were given", field="safety")
    if helpfulness is None or safety is None:
        only = as_floats(
            safety if safety is not None else helpfulness,  # type: ignore[arg-type]
            "safety" if safety is not None else "helpfulness",
        )
        require_length(len(only), len(tags), "is_safety", "the rewards")
        return Selection(np.full(len(only), safety is not None), _finite_or_nan(only))
    r_s, r_h = as_floats(safety, "safety"), as_floats(helpfulness, "helpfulness")
    require_length(len(r_h), len(r_s), "helpfulness", "safety")
    require_length(len(tags), len(r_s), "is_safety", "safety")
    threshold = float(np.log(tau) - np.log1p(-tau))
    # near τ one unit in the last place of r is one of σ(r): asking both ways keeps a tie on either
    # side of the rounding a tie
    below = (r_s < threshold) & (sigmoid(r_s) < tau)
    use_safety = tags | below | ~np.isfinite(r_s)
    return Selection(use_safety, _finite_or_nan(np.where(use_safety, r_s, r_h)))


def _finite_or_nan(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, np.nan)
