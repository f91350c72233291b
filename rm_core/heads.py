"""From hidden states to rewards: linear scalar heads, always in float32.

A head is tiny and its rounding would be the reward's own, so it is never run in the trunk's reduced
precision. Heads on one trunk are stacked into one product.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Linear
from torch.nn.functional import linear

from rm_core.errors import WrongNumLabels


class ScalarHeads:
    """One or more scalar heads that read the same hidden states.

    Args:
        heads: layers of shape (1, hidden), with or without bias.

    Raises:
        WrongNumLabels: a head has more than one output.
    """

    def __init__(self, heads: Sequence[Linear]) -> None:
        for head in heads:
            if head.out_features != 1:
                raise WrongNumLabels(f"a reward head has 1 output, this one {head.out_features}")
        self._weight = torch.cat([head.weight.detach().float() for head in heads])
        biases: list[Tensor | None] = [head.bias for head in heads]
        self._bias = torch.cat(
            [
                self._weight.new_zeros(1) if bias is None else bias.detach().float()
                for bias in biases
            ]
        )

    def linear(self, hidden: Tensor) -> Tensor:
        """Raw rewards as a tensor: (texts, hidden) float32 → (texts, heads) float32."""
        return linear(hidden, self._weight, self._bias)

    def __call__(self, hidden: Tensor) -> list[list[float]]:
        """Raw rewards of read positions.

        Args:
            hidden: (texts, hidden), any float dtype.

        Returns:
            (texts, heads), float32 values.
        """
        rewards: list[list[float]] = self.linear(hidden.float()).tolist()
        return rewards
