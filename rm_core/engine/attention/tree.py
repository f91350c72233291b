"""Tree attention as transformers calls it: the plan's tensors and the choice of a kernel.

The row holds segments in depth-first order (see `rm_core.engine.packing.plan`). Each segment
attends to itself causally; everything below it attends to it fully. Segments without rows are read
from a cache, and what a pack computes is handed to one: see `kept`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AttentionInterface

from rm_core.engine.attention.by_path import path_attention
from rm_core.engine.attention.kept import NO_RUNS, Capture, KeptRun, LayerRuns, layer_index
from rm_core.engine.attention.masked import masked_attention
from rm_core.engine.attention.merged import merged_attention, merged_attention_at
from rm_core.engine.attention.native import NativePlan, can_take, native_attention
from rm_core.engine.attention.varlen import VarlenPlan, varlen_attention
from rm_core.engine.native import NativeLibrary
from rm_core.engine.packing.paths import PathPlan
from rm_core.engine.packing.plan import Pack
from rm_core.errors import UnsupportedModel

ATTENTION_NAME = "rewardd_tree"
"""The name under which transformers knows our attention; it makes no mask for it."""


@dataclass(frozen=True)
class TreePlan:
    """A pack's structure as attention needs it, made once and used by every layer.

    Attributes:
        pack: segments and positions of the row.
        position_ids: (tokens,), int64, on the device.
        read_rows: rows that heads read, (reads,), int64, on the device.
        kept: what a cache holds, by segment index; None for segments in the row. Empty where no
            segment is without rows.
        capture: takes the keys and values that the layers compute; None where nobody keeps them.
        by_path: whether a text must get the same bits in any company, on the CPU alone: by path, or
            by the native kernel, whose every row does.
        native: has the kernel that takes what it can; None for torch's alone.
    """

    pack: Pack
    position_ids: Tensor
    read_rows: Tensor
    kept: tuple[KeptRun | None, ...] = ()
    capture: Capture | None = None
    by_path: bool = False
    native: NativeLibrary | None = None

    @classmethod
    def of(
        cls,
        pack: Pack,
        device: torch.device,
        *,
        kept: Sequence[KeptRun | None] = (),
        capture: Capture | None = None,
        by_path: bool = False,
        native: NativeLibrary | None = None,
    ) -> "TreePlan":
        """The plan's tensors on a device."""
        return cls(
            pack,
            torch.from_numpy(pack.position_ids).to(device),
            torch.from_numpy(pack.read_rows).to(device),
            tuple(kept),
            capture,
            by_path,
            native,
        )

    def kept_of(self, module: torch.nn.Module) -> LayerRuns:
        """What a cache holds of the layer that an attention module belongs to."""
        if not self.kept:
            return NO_RUNS
        layer = layer_index(module)
        return {i: run.of_layer(layer) for i, run in enumerate(self.kept) if run is not None}

    def take(self, module: torch.nn.Module, key: Tensor, value: Tensor) -> None:
        """Hand on what a layer computed, if anybody keeps it; see `Capture`."""
        if self.capture is not None:
            self.capture(layer_index(module), key, value)

    @cached_property
    def path(self) -> PathPlan:
        """The calls by path of all rows, made on first use."""
        return PathPlan.of(self.pack)

    def path_within(self, window: int) -> PathPlan:
        """The calls by path of all rows, each of which sees the last `window` tokens alone."""
        if window not in self._within:
            self._within[window] = PathPlan.of(self.pack, window=window)
        return self._within[window]

    @cached_property
    def _within(self) -> dict[int, PathPlan]:
        return {}

    @cached_property
    def varlen(self) -> VarlenPlan:
        """The calls of the CUDA kernel, made on first use."""
        return VarlenPlan.of(self.pack, self.position_ids.device)

    @cached_property
    def native_plan(self) -> NativePlan:
        """What the native kernel's calls read, made on first use."""
        return NativePlan(self.pack)


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
        module: the calling attention layer, which tells its index where a cache is in play.
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
    del attention_mask
    kept = tree.kept_of(module)
    tree.take(module, key, value)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if sliding_window is not None and sliding_window >= tree.pack.longest:
        sliding_window = None  # the window covers every sequence whole
    if tree.by_path and softcap is not None:  # no kernel gives a text the same bits in any company
        raise UnsupportedModel(
            "attention by path has no soft cap; run the model without `deterministic`"
        )
    if softcap is None and tree.native is not None and can_take(tree.native, query, key, value):
        out = native_attention(
            tree.native,
            query,
            key,
            value,
            tree.native_plan,
            scale=scale,
            sliding_window=sliding_window,
            kept=kept,
        )
        return out, None
    if tree.by_path:
        path = tree.path if sliding_window is None else tree.path_within(sliding_window)
        count = tree.pack.num_tokens
        out = path_attention(query, key, value, path, num_tokens=count, scale=scale, kept=kept)
        return out, None
    plain = softcap is None and sliding_window is None and value.shape[-1] == query.shape[-1]
    if plain and query.device.type == "cpu":
        return merged_attention(query, key, value, tree.pack, scale=scale, kept=kept), None
    if plain and query.device.type == "cuda" and query.dtype in (torch.float16, torch.bfloat16):
        return varlen_attention(query, key, value, tree.varlen, scale=scale, kept=kept), None
    out = masked_attention(
        query,
        key,
        value,
        tree.pack,
        tree.position_ids,
        scale=scale,
        sliding_window=sliding_window,
        softcap=softcap,
        kept=kept,
    )
    return out, None


def tree_attention_at(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rows: NDArray[np.int64],
    *,
    tree: TreePlan,
    scaling: float,
    sliding_window: int | None,
) -> Tensor:
    """Attention of a few rows only, on the CPU, without gradients.

    Args:
        module: the calling attention layer.
        query: of those rows, (1, heads, rows, head_dim); by path, filling may follow.
        key: of the whole packed row, (1, key_value_heads, tokens, head_dim).
        value: like key.
        rows: row indices of the queries, ascending, each once, (rows,).
        tree: the pack's structure.
        scaling: factor on the dot products.
        sliding_window: of tokens that a row sees; by path alone it may hide any.

    Returns:
        (1, as many rows as `query`, heads, head_dim).
    """
    kept = tree.kept_of(module)
    if tree.native is not None and can_take(tree.native, query, key, value):
        if sliding_window is not None and sliding_window >= tree.pack.longest:
            sliding_window = None  # the window covers every sequence whole
        return native_attention(
            tree.native,
            query,
            key,
            value,
            NativePlan(tree.pack, rows),
            scale=scaling,
            sliding_window=sliding_window,
            kept=kept,
        )
    if tree.by_path:
        path = PathPlan.of(tree.pack, rows=rows, window=sliding_window)
        count = tree.pack.num_tokens
        return path_attention(query, key, value, path, num_tokens=count, scale=scaling, kept=kept)
    return merged_attention_at(query, key, value, tree.pack, rows, scale=scaling, kept=kept)


AttentionInterface.register(ATTENTION_NAME, tree_attention)
