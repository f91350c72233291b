"""Products by torch's own matrix multiplication (MKL on x86).

Weights are laid out once as that multiplication reads them (transposed), which makes products of
few rows faster; the parameters become views of that memory, so nothing is held twice.
"""

import torch
from torch import Tensor, nn


class MmProduct:
    """A linear layer's product by `torch.mm`.

    Args:
        linear: its weight becomes a transposed view of memory laid out for the product.
    """

    def __init__(self, linear: nn.Linear) -> None:
        lay_out_transposed(linear)
        self._linear = linear
        self.out_features = linear.out_features

    def __call__(self, rows: Tensor) -> Tensor:
        """See `Product`."""
        return nn.functional.linear(rows, self._linear.weight, self._linear.bias)

    def into(self, rows: Tensor, out: Tensor) -> None:
        """See `Product`."""
        bias: Tensor | None = self._linear.bias
        if bias is None:
            torch.mm(rows, self._linear.weight.t(), out=out)
        else:
            torch.addmm(bias, rows, self._linear.weight.t(), out=out)

    def add_to(self, hidden: Tensor, rows: Tensor) -> None:
        """See `Product`."""
        hidden.addmm_(rows, self._linear.weight.t())
        bias: Tensor | None = self._linear.bias
        if bias is not None:
            hidden.add_(bias)


def lay_out_transposed(linear: nn.Linear) -> None:
    """Store a linear layer's weight as matrix products read it; values don't change."""
    linear.weight.data = linear.weight.data.t().contiguous().t()
