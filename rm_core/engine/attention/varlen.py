"""The CUDA kernel: a few variable-length flash calls for the whole tree, merged by log-sum-exp.

One causal call covers every segment's own tokens. Then one full call for each depth of the tree:
all segments of that depth that have something below them, each with the rows below it. The number
of launches is one more than the tree's depth, whatever the number of sequences.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rm_core.engine.attention.merged import merge_part
from rm_core.engine.plan import Pack, Segment

VarlenKernel = Callable[["VarlenCall", Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]
"""(call, query, key, value, scale) → (tokens, heads, head_dim) and (tokens, heads) float32."""


@dataclass(frozen=True, slots=True)
class VarlenCall:
    """One call of the kernel: n independent blocks of rows and keys.

    Attributes:
        causal: whether each row sees the keys up to its own place in the block, or all.
        rows: row indices of the queries, block after block, (rows,), int64.
        keys: row indices of the keys, likewise.
        row_borders: cumulative rows of the blocks, (n + 1,), int32.
        key_borders: cumulative keys of the blocks, (n + 1,), int32.
        most_rows: of a block.
        most_keys: of a block.
    """

    causal: bool
    rows: Tensor
    keys: Tensor
    row_borders: Tensor
    key_borders: Tensor
    most_rows: int
    most_keys: int


@dataclass(frozen=True, slots=True)
class VarlenPlan:
    """The calls for one pack: first the segments themselves, then one for each depth."""

    own: VarlenCall
    below: tuple[VarlenCall, ...]

    @classmethod
    def of(cls, pack: Pack, device: torch.device) -> "VarlenPlan":
        """Plan the calls and put their indices on the device."""
        own = [(s.start, s.end) for s in pack.segments]
        by_depth: dict[int, list[Segment]] = {}
        depths: list[int] = []
        for segment in pack.segments:
            depths.append(0 if segment.parent is None else depths[segment.parent] + 1)
            if segment.subtree_end > segment.end:
                by_depth.setdefault(depths[-1], []).append(segment)
        return cls(
            _call(own, own, device, causal=True),
            tuple(
                _call(
                    [(s.end, s.subtree_end) for s in by_depth[depth]],
                    [(s.start, s.end) for s in by_depth[depth]],
                    device,
                    causal=False,
                )
                for depth in sorted(by_depth)
            ),
        )


def varlen_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    plan: VarlenPlan,
    *,
    scale: float,
    kernel: VarlenKernel | None = None,
) -> Tensor:
    """Attention of one packed row over its tree.

    Args:
        query: (1, heads, tokens, head_dim), float16 or bfloat16 on CUDA.
        key: (1, key_value_heads, tokens, head_dim).
        value: like key.
        plan: the pack's calls.
        scale: factor on the dot products.
        kernel: what runs a call; None for torch's flash attention.

    Returns:
        (1, tokens, heads, head_dim).
    """
    run = flash_kernel if kernel is None else kernel
    # (1, heads, tokens, dim) -> (tokens, heads, dim)
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    out, lse = run(plan.own, q, k, v, scale)
    for call in plan.below:
        part, part_lse = run(call, q[call.rows], k[call.keys], v[call.keys], scale)
        merged, merged_lse = out[call.rows], lse[call.rows]
        merge_part(merged, merged_lse, part, part_lse)
        out[call.rows], lse[call.rows] = merged, merged_lse
    return out.unsqueeze(0)


def flash_kernel(
    call: VarlenCall, query: Tensor, key: Tensor, value: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Run a call by torch's variable-length flash attention.

    Splitting keys over blocks is switched off: it depends on the pack's longest block, and a text's
    reward must not depend on its company.
    """
    from torch.nn.attention.varlen import AuxRequest, varlen_attn

    out, lse = varlen_attn(
        query,
        key,
        value,
        call.row_borders,
        call.key_borders,
        call.most_rows,
        call.most_keys,
        return_aux=AuxRequest(lse=True),
        scale=scale,
        window_size=(-1, 0) if call.causal else (-1, -1),
        enable_gqa=query.shape[1] != key.shape[1],
        num_splits=1,
    )
    return out, lse.transpose(0, 1).float().contiguous()  # (heads, tokens) -> (tokens, heads)


def _call(
    rows: list[tuple[int, int]], keys: list[tuple[int, int]], device: torch.device, *, causal: bool
) -> VarlenCall:
    return VarlenCall(
        causal=causal,
        rows=_indices(rows, device),
        keys=_indices(keys, device),
        row_borders=_borders(rows, device),
        key_borders=_borders(keys, device),
        most_rows=max(end - start for start, end in rows),
        most_keys=max(end - start for start, end in keys),
    )


def _indices(ranges: list[tuple[int, int]], device: torch.device) -> Tensor:
    indices = np.concatenate([np.arange(start, end, dtype=np.int64) for start, end in ranges])
    return torch.from_numpy(indices).to(device)


def _borders(ranges: list[tuple[int, int]], device: torch.device) -> Tensor:
    borders = np.cumsum([0, *(end - start for start, end in ranges)], dtype=np.int32)
    return torch.from_numpy(borders).to(device)
