"""Tree attention as transformers calls it: the plan's tensors and the choice of a kernel.

The row holds segments in depth-first order (see `rm_core.engine.packing.plan`). Each segment
attends to itself causally; everything below it attends to it fully.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

from rm_core.engine.attention.masked import masked_attention
from rm_core.engine.attention.merged import merged_attention
from rm_core.engine.attention.varlen import VarlenPlan, varlen_attention
from rm_core.engine.packing.plan import Pack

ATTENTION_NAME = "rewardd_tree"
"""The name under which transformers knows our attention; it makes no mask for it."""


@dataclass(frozen=True)
class TreePlan:
    """A pack's structure as attention needs it, made once and used by every layer.

    Attributes:
        pack: segments and positions of the row.
        position_ids: (tokens,), int64, on the device.
        read_rows: rows that heads read, (reads,), int64, on the device.
    """

    pack: Pack
    position_ids: Tensor
    read_rows: Tensor

    @classmethod
    def of(cls, pack: Pack, device: torch.device) -> "TreePlan":
        """The plan's tensors on a device."""
        return cls(
            pack,
            torch.from_numpy(pack.position_ids).to(device),
            torch.from_numpy(pack.read_rows).to(device),
        )

    @cached_property
    def varlen(self) -> VarlenPlan:
        """The calls of the CUDA kernel, made on first use."""
        return VarlenPlan.of(self.pack, self.position_ids.device)


def tree_attention(  # noqa: PLR0913  the interface's signature
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    tree: TreePlan,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of one packed row over its tree.

    Args:
        module: the calling attention layer; unused, part of the interface.
        query: (1, heads, tokens, head_dim).
        key: (1, key_value_heads, tokens, head_dim); heads is a multiple of key_value_heads.
        value: like key; its head_dim may differ.
        attention_mask: None; the plan says who sees whom.
        tree: the pack's structure.
        scaling: factor on the dot products; None for 1/√head_dim.
        sliding_window: a token sees itself and the `sliding_window − 1` before it; None for all.
        softcap: s ↦ softcap·tanh(s/softcap) on the scaled dot products; None for none.

    Returns:
        (1, tokens, heads, head_dim) and None for the weights, which are never formed.
    """
    del module, attention_mask
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if sliding_window is not None and sliding_window >= tree.pack.longest:
        sliding_window = None  # the window covers every sequence whole
    plain = softcap is None and sliding_window is None and value.shape[-1] == query.shape[-1]
    if plain and query.device.type == "cpu":
        return merged_attention(query, key, value, tree.pack, scale=scale), None
    if plain and query.device.type == "cuda" and query.dtype in (torch.float16, torch.bfloat16):
        return varlen_attention(query, key, value, tree.varlen, scale=scale), None
    out = masked_attention(
        query,
        key,
        value,
        tree.pack,
        tree.position_ids,
        scale=scale,
        sliding_window=sliding_window,
        softcap=softcap,
    )
    return out, None


AttentionInterface.register(ATTENTION_NAME, tree_attention)
