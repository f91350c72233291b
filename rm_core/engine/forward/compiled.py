"""A trunk whose layers are compiled by torch, for devices on which launching kernels is what costs.

Compiled are all layers but the last, whose rows are those that a head reads. The number of tokens
stays a variable of the compiled code: packs of every size run the same graphs, nothing is filled up
to a bucket, and no pack waits for the compiler but the first. Attention stays apart: it is planned
pack by pack, so each layer becomes a graph before it and a graph behind it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Linear
from transformers import AttentionInterface

from rm_core.engine.attention import TreePlan, tree_attention
from rm_core.engine.forward.packed import PackedForward, TransformersTrunk

_APART = "rewardd_tree_apart"
"""Tree attention as compiled layers call it."""


class CompiledTrunk:
    """A trunk as transformers runs it, with our attention, layer by layer compiled.

    Args:
        model: a decoder whose attention can be replaced.
        backend: of torch.compile.

    Raises:
        ValueError: its layers are not where decoders have them.
    """

    shares_exactly = False

    def __init__(self, model: Any, *, backend: str = "inductor") -> None:
        self._run = TransformersTrunk(model)
        apart = torch.compiler.disable(tree_attention)  # type: ignore[no-untyped-call]
        AttentionInterface.register(_APART, apart)
        model.set_attn_implementation(_APART)
        for layer in _layers(model.base_model)[:-1]:
            layer.forward = torch.compile(layer.forward, backend=backend, dynamic=True)

    def __call__(self, input_ids: Tensor, tree: TreePlan) -> Tensor:
        """Hidden states that the heads read: (tokens,) int64 → (reads, hidden)."""
        return self._run(input_ids, tree)


def compiled_packed(model: Any, *, heads: Sequence[Linear] = ()) -> PackedForward:
    """The packed way over compiled layers."""
    return PackedForward(
        model,
        run=CompiledTrunk(model),
        heads=heads,
        reason="decoder with replaceable attention, its layers compiled",
    )


def _layers(trunk: Any) -> nn.ModuleList:
    for name in ("layers", "h"):
        layers = getattr(trunk, name, None)
        if isinstance(layers, nn.ModuleList):
            return layers
    raise ValueError(f"{type(trunk).__name__} has no list of layers")
