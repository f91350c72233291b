"""Attention of an encoder's packed row: each text attends to the whole of itself and nothing else.

On CUDA in half precision one variable-length flash call takes all texts; everywhere else each text
is a call of its own, which on a CPU is what such a kernel would do as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from rm_core.engine.attention.varlen import FlashKernel, VarlenCall, VarlenKernel, whole_blocks

BLOCKS_NAME = "rewardd_blocks"
"""The name under which transformers knows this attention; it makes no mask for it."""


@dataclass(frozen=True)
class Blocks:
    """The texts of a row.

    Attributes:
        ranges: first row index of each text and one past its last, in row order.
        device: of the row.
    """

    ranges: Sequence[tuple[int, int]]
    device: torch.device

    @cached_property
    def varlen(self) -> VarlenCall:
        """The call of the CUDA kernel, made on first use."""
        return whole_blocks(self.ranges, self.device)


def block_attention(  # noqa: PLR0913  the interface's signature
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    blocks: Blocks,
    scaling: float | None = None,
    sliding_window: int | None = None,
    kernel: VarlenKernel | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Bidirectional attention within each text of one packed row.

    Args:
        module: the calling attention layer; unused, part of the interface.
        query: (1, heads, tokens, head_dim).
        key: (1, key_value_heads, tokens, head_dim).
        value: like key.
        attention_mask: None; the blocks say who sees whom.
        blocks: the row's texts.
        scaling: factor on the dot products; None for 1/√head_dim.
        sliding_window: None; windows are not made here.
        kernel: what runs a variable-length call; None for torch's flash attention, on CUDA in half
            precision.

    Returns:
        (1, tokens, heads, head_dim) and None for the weights, which are never formed.

    Raises:
        ValueError: the layer asks for a sliding window.
    """
    del module, attention_mask
    if sliding_window is not None:
        raise ValueError("texts in a row attend to the whole of themselves, without a window")
    half = query.dtype in (torch.float16, torch.bfloat16)
    if kernel is None and half and query.device.type == "cuda":
        kernel = FlashKernel()
    if kernel is not None:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        # (1, heads, tokens, dim) -> (tokens, heads, dim)
        q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
        out, _lse = kernel.forward(blocks.varlen, q, k, v, scale)
        return out.unsqueeze(0), None
    out = query.new_empty(1, query.shape[2], query.shape[1], value.shape[3])
    for start, end in blocks.ranges:
        part = scaled_dot_product_attention(
            query[:, :, start:end],
            key[:, :, start:end],
            value[:, :, start:end],
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        out[:, start:end] = part.transpose(1, 2)
    return out, None


AttentionInterface.register(BLOCKS_NAME, block_attention)
