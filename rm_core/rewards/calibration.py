"""From a head's raw reward to the calibrated reward and its score, and back."""

from typing import NamedTuple

import numpy as np

from rm_core.errors import InputError
from rm_core.rewards.arrays import FloatArray, FloatsLike, as_floats


class Calibration(NamedTuple):
    """The affine map from raw to calibrated rewards; the identity by default.

    Attributes:
        temperature: divides the raw reward, > 0.
        bias: is added after the division, in reward units.
    """

    temperature: float = 1.0
    bias: float = 0.0


def calibrate(reward: FloatsLike, calibration: Calibration) -> FloatArray:
    """The calibrated reward, whose sigmoid is the score.

    r' = r / temperature + bias

    Args:
        reward: raw rewards, (n,); non-finite values pass through as they are.
        calibration: the checkpoint's constants.

    Returns:
        Calibrated rewards, (n,), float64.

    Raises:
        InputError: the temperature is not a positive finite number, or the bias is not finite.
    Source: temperature scaling, Guo et al. 2017, arXiv:1706.04599; with the bias it is Platt 1999.
    """
    temperature, bias = calibration
    if not (np.isfinite(temperature) and temperature > 0.0):
        raise InputError("the temperature must be a finite number above 0", field="temperature")
    if not np.isfinite(bias):
        raise InputError("the bias must be a finite number", field="bias")
    with np.errstate(over="ignore"):
        return as_floats(reward, "reward") / temperature + bias


def sigmoid(x: FloatsLike) -> FloatArray:
    """The logistic function, without overflow for any input.

    σ(x) = 1 / (1 + e^(−x)) = e^x / (1 + e^x)

    Args:
        x: (n,).

    Returns:
        Scores, (n,), float64, in [0, 1]: beyond |x| ≈ 37 float64 holds no other number than 1.
    """
    values = as_floats(x, "x")
    # e^(−|x|) never overflows, and each branch keeps its relative precision
    with np.errstate(under="ignore"):
        decayed = np.exp(-np.abs(values))
        return np.where(values >= 0.0, 1.0, decayed) / (1.0 + decayed)


def raw_at_score(score: float, calibration: Calibration) -> float:
    """The raw reward whose calibrated score is `score`: a threshold on the other scale.

    r = temperature · (logit(score) − bias)

    Args:
        score: 0 < score < 1.
        calibration: the checkpoint's constants.

    Raises:
        InputError: the score is not between 0 and 1.
    """
    if not 0.0 < score < 1.0:
        raise InputError("a score lies between 0 and 1", field="score")
    temperature, bias = calibration
    return float(temperature * (np.log(score) - np.log1p(-score) - bias))
