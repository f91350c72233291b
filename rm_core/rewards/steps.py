"""One score from the scores of a response's steps, as process reward models are used."""

from typing import Literal

import numpy as np

from rm_core.errors import ShapeMismatch
from rm_core.rewards.arrays import FloatsLike, as_floats

StepAggregation = Literal["min", "product", "last", "mean"]


def aggregate_steps(scores: FloatsLike, how: StepAggregation) -> float:
    """One score from those of the steps.

    Args:
        scores: of the steps in order, (steps,), each in (0, 1).
        how: "min" is the weakest step's; "product" reads the scores as the steps' probabilities of
            being right and asks for all of them; "last" is the final step's; "mean" the average.

    Returns:
        In [0, 1).

    Raises:
        ShapeMismatch: there is no step.
    Source: Lightman et al. 2023, arXiv:2305.20050 (product and min); Wang et al. 2023,
    arXiv:2312.08935 (min); Snell et al. 2024, arXiv:2408.03314 (last).
    """
    given = as_floats(scores, "scores")
    if not given.size:
        raise ShapeMismatch("a response without steps has no score; send one at least")
    if how == "min":
        return float(given.min())
    if how == "product":
        return float(np.prod(given))
    return float(given[-1]) if how == "last" else float(given.mean())
