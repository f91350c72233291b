"""The interface of one linear layer's product, whichever library computes it."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn


class Product(Protocol):
    """rows · weightᵀ + bias of one linear layer."""

    @property
    def out_features(self) -> int:
        """Columns of a result."""
        ...

    def __call__(self, rows: Tensor) -> Tensor:
        """The layer's result, (rows, features in) → (rows, features out)."""
        ...

    def into(self, rows: Tensor, out: Tensor) -> None:
        """The layer's result into `out`, (rows, features out), contiguous."""
        ...

    def add_to(self, hidden: Tensor, rows: Tensor) -> None:
        """Add the layer's result to `hidden`, (rows, features out), in place."""
        ...


MakeProduct = Callable[[nn.Linear], Product]
"""Gives a layer's product; may lay its weight out anew, with the same values."""

EnterRows = Callable[[slice, NDArray[np.int64] | None], None]
"""Told of which rows the next products are: of the pack, or of rows gathered from it, with each
one's row in the pack, ascending."""
