"""What the formulas accept and return: one-dimensional float64 arrays of equal length."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rm_core.errors import ShapeMismatch

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
FloatsLike = FloatArray | NDArray[np.float32] | Sequence[float]
BoolsLike = BoolArray | Sequence[bool] | Sequence[int]


def as_floats(values: FloatsLike, field: str) -> FloatArray:
    """A float64 vector, (n,).

    Raises:
        ShapeMismatch: `values` is not one-dimensional; `field` names it.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ShapeMismatch(
            f"{field} has {array.ndim} dimensions; send one flat list of numbers", field=field
        )
    return array


def as_bools(values: BoolsLike, field: str) -> BoolArray:
    """A boolean vector, (n,); numbers count as true unless they are 0.

    Raises:
        ShapeMismatch: `values` is not one-dimensional; `field` names it.
    """
    array = np.asarray(values, dtype=np.bool_)
    if array.ndim != 1:
        raise ShapeMismatch(
            f"{field} has {array.ndim} dimensions; send one flat list of booleans", field=field
        )
    return array


def require_length(num_values: int, expected: int, field: str, reference: str) -> None:
    """Refuse arrays that belong together and differ in length.

    Raises:
        ShapeMismatch: `field` has another length than `reference`.
    """
    if num_values != expected:
        raise ShapeMismatch(
            f"{field} has {num_values} entries and {reference} has {expected}; "
            "they must be equally long",
            field=field,
        )
