"""Regression: the reward itself should be what people said of the response."""

from torch import Tensor

from training.losses.shapes import precise, require_vectors


def regression_terms(rewards: Tensor, ratings: Tensor) -> Tensor:
    """Squared error of each reward: (r − rating)².

    Responses that nobody rated are left out before, so that "not rated" needs no number of its own.

    Args:
        rewards: of rated responses, (responses,).
        ratings: what they were given, on the scale that rewards shall have, (responses,).

    Returns:
        (responses,), float32 or float64, in squared reward units.

    Raises:
        ShapeMismatch: the shapes differ, or are no vectors.

    Source: HelpSteer2, arXiv 2406.08673 (mean squared error of a linear head).
    """
    require_vectors("ratings and rewards", ratings, rewards)
    return (precise(rewards) - ratings).square()
