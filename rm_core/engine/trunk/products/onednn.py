"""Products by oneDNN, which picks its kernels by what a processor can do and not by who made it.

torch multiplies float32 matrices by MKL, which leaves its fast kernels to Intel's processors; the
oneDNN that torch brings as well does not. It reads the same transposed weights, so that a layer has
both products and its weight stands in memory once.
"""

import torch
from torch import Tensor, nn

from rm_core.engine.trunk.products.mm import lay_out_transposed

ROUNDED, ROUNDED_BEYOND = 32, 256
"""Rows are filled up to a multiple of these, the second from `MANY_ROWS` on: oneDNN takes some
0.3 ms to prepare for each new number of rows of each weight, and keeps 1,024 of what it prepared.
"""
MANY_ROWS = 1024


class OnednnProduct:
    """A linear layer's product by oneDNN, outside of autograd.

    Args:
        linear: its weight becomes a transposed view of memory laid out for the product.
    """

    def __init__(self, linear: nn.Linear) -> None:
        lay_out_transposed(linear)
        self._linear = linear
        self.out_features = linear.out_features

    def __call__(self, rows: Tensor) -> Tensor:
        """See `Product`."""
        return onednn_linear(rows, self._linear.weight, self._linear.bias)

    def into(self, rows: Tensor, out: Tensor) -> None:
        """See `Product`."""
        out.copy_(self(rows))

    def add_to(self, hidden: Tensor, rows: Tensor) -> None:
        """See `Product`."""
        hidden.add_(self(rows))  # oneDNN's own sum is no faster, and slower on some shapes


def onednn_linear(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Rows · weightᵀ + bias by oneDNN.

    Args:
        rows: (rows, features in).
        weight: (features out, features in), contiguous or a transposed view of what is: of any
            other layout oneDNN has only its reference kernel, a thousand times slower.
        bias: (features out,) or None.

    Returns:
        (rows, features out).
    """
    count = len(rows)
    missing = -count % (ROUNDED if count <= MANY_ROWS else ROUNDED_BEYOND)
    if missing:
        rows = nn.functional.pad(rows, (0, 0, 0, missing))
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return product[:count]


def has_onednn() -> bool:
    """Whether torch was built with oneDNN and this product of it."""
    built: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return built and hasattr(torch.ops.mkldnn, "_linear_pointwise")
