"""Keys and values that a cache holds, as attention reads them, and how new ones get there.

In a pack a run that a cache holds is a segment without rows (see `rm_core.engine.packing.plan`).
Keys are kept as attention is given them, so after rotary embedding: a token's position never
changes as long as what stands before it is the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import Tensor


class LayerRun(NamedTuple):
    """One layer's share of a kept run.

    Attributes:
        key: (1, key_value_heads, tokens, head_dim), after rotary embedding.
        value: likewise; its head_dim may differ.
    """

    key: Tensor
    value: Tensor


LayerRuns = Mapping[int, LayerRun]
"""One layer's share of a pack's kept runs, by their segments' indices."""

NO_RUNS: LayerRuns = {}


@dataclass(frozen=True, slots=True)
class KeptRun:
    """The keys and values of a run of tokens, of every layer.

    Attributes:
        keys: by layer, (tokens, key_value_heads, head_dim), after rotary embedding.
        values: likewise; their head_dim may differ.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    def of_layer(self, layer: int) -> LayerRun:
        """What one layer attends to, without copying."""
        key, value = self.keys[layer], self.values[layer]
        return LayerRun(key.transpose(0, 1)[None], value.transpose(0, 1)[None])


class Capture(Protocol):
    """What takes the keys and values that a pack's forward computes."""

    def __call__(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Take one layer's, which stay the layer's own: what is to be kept is copied.

        Args:
            layer: its index.
            key: of the row, (1, key_value_heads, tokens, head_dim), after rotary embedding.
            value: likewise; its head_dim may differ.
        """
        ...


def layer_index(module: Any) -> int:
    """Which layer an attention module belongs to, as transformers numbers them.

    Raises:
        AttributeError: the module doesn't say; then nothing of its model can be kept.
    """
    return int(module.layer_idx)
