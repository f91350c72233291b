"""Rankings of responses, and the probability that one is better, by Bradley-Terry."""

import numpy as np

from rm_core.errors import InputError
from rm_core.rewards.arrays import FloatArray, FloatsLike, as_floats
from rm_core.rewards.calibration import sigmoid


def pairwise_probabilities(rewards: FloatsLike) -> FloatArray:
    """P(i ≻ j) for every pair.

    Args:
        rewards: calibrated rewards, (k,), finite.

    Returns:
        (k, k), float64: row i, column j holds P(i ≻ j); 0.5 on the diagonal, and each pair's two
        entries sum to 1.

    Raises:
        InputError: a reward is not finite.
    Source: Bradley and Terry 1952, "Rank Analysis of Incomplete Block Designs: I".
    """
    r = _finite(rewards)
    with np.errstate(over="ignore"):  # a difference beyond float64 is ±∞, and its σ 1 or 0
        differences = r[:, None] - r[None, :]
    return sigmoid(differences.ravel()).reshape(len(r), len(r))


def rank(rewards: FloatsLike) -> list[int]:
    """Each response's place, 1 is the best; equal rewards share the better place ("1 2 2 4").

    Args:
        rewards: (k,), finite.

    Returns:
        k places, in the order of the responses.

    Raises:
        InputError: a reward is not finite.
    """
    r = _finite(rewards)
    return [1 + int(np.count_nonzero(r > own)) for own in r]


def ranking(rewards: FloatsLike) -> list[list[int]]:
    """The responses' indices from best to worst, tied ones together.

    Args:
        rewards: (k,), finite.

    Returns:
        Groups of indices, best first; a group of more than one index is a tie.

    Raises:
        InputError: a reward is not finite.
    """
    places = rank(rewards)
    return [[i for i, own in enumerate(places) if own == place] for place in sorted(set(places))]


def winner(rewards: FloatsLike) -> int | None:
    """The index of the best response; None where the best are tied.

    Args:
        rewards: (k,), finite, k ≥ 1.

    Returns:
        An index, or None.

    Raises:
        InputError: a reward is not finite, or there is none.
    """
    best = ranking(rewards)
    if not best:
        raise InputError("there is nothing to compare; send at least one reward", field="rewards")
    return best[0][0] if len(best[0]) == 1 else None


def _finite(rewards: FloatsLike) -> FloatArray:
    values = as_floats(rewards, "rewards")
    if not np.isfinite(values).all():
        raise InputError("a reward is not finite and can't be compared", field="rewards")
    return values
