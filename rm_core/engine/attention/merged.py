"""The CPU kernel: flash attention part by part, merged by log-sum-exp.

Merging is exact: softmax over a union of key sets is the average of the parts weighted by exp(lse),
the identity behind FlashAttention's tiling (Dao et al. 2022, arXiv:2205.14135, §3.1).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rm_core.engine.plan import Pack


def merged_attention(
    query: Tensor, key: Tensor, value: Tensor, pack: Pack, *, scale: float
) -> Tensor:
    """Attention of one packed row over its tree.

    Args:
        query: (1, heads, tokens, head_dim).
        key: (1, key_value_heads, tokens, head_dim).
        value: like key.
        pack: segments of the row.
        scale: factor on the dot products.

    Returns:
        (1, tokens, heads, head_dim).
    """
    tokens, dim = query.shape[2:]
    groups = key.shape[1]
    q, k, v = _by_group(query, key, value)
    out = q.new_empty(tokens, groups, q.shape[1], dim)
    lse = torch.empty(tokens, groups, q.shape[1], dtype=torch.float32)
    for segment in pack.segments:
        own = slice(segment.start, segment.end)
        below = slice(segment.end, segment.subtree_end)
        for rows, causal in ((own, True), (below, False)):
            if rows.start == rows.stop:
                continue
            part, part_lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                q[:, :, rows], k[:, :, own], v[:, :, own], 0.0, causal, scale=scale
            )
            # (groups, heads of each, rows, …) -> (rows, groups, heads of each, …)
            part, part_lse = part.permute(2, 0, 1, 3), part_lse.permute(2, 0, 1)
            if segment.parent is None:  # nothing was attended to before
                out[rows], lse[rows] = part, part_lse
            else:
                merge_part(out[rows], lse[rows], part, part_lse)
    return out.view(1, tokens, -1, dim)


def merged_attention_at(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pack: Pack,
    rows: NDArray[np.int64],
    *,
    scale: float,
) -> Tensor:
    """Attention of a few rows only, over the same tree.

    Args:
        query: of those rows, (1, heads, rows, head_dim).
        key: of the whole packed row, (1, key_value_heads, tokens, head_dim).
        value: like key.
        pack: segments of the row.
        rows: row indices of the queries, ascending, each once, (rows,).
        scale: factor on the dot products.

    Returns:
        (1, rows, heads, head_dim).
    """
    count, dim = query.shape[2:]
    groups = key.shape[1]
    q, k, v = _by_group(query, key, value)
    out = q.new_empty(count, groups, q.shape[1], dim)
    lse = torch.empty(count, groups, q.shape[1], dtype=torch.float32)
    for segment in pack.segments:
        own, below, after = np.searchsorted(
            rows, (segment.start, segment.end, segment.subtree_end)
        ).tolist()
        # A row of the segment itself sees the keys up to its own place, rows below it see all.
        parts = [(at, at + 1, int(rows[at]) + 1) for at in range(own, below)]
        if after > below:
            parts.append((below, after, segment.end))
        for first, last, keys_end in parts:
            keys = slice(segment.start, keys_end)
            part, part_lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                q[:, :, first:last], k[:, :, keys], v[:, :, keys], 0.0, False, scale=scale
            )
            part, part_lse = part.permute(2, 0, 1, 3), part_lse.permute(2, 0, 1)
            if segment.parent is None:
                out[first:last], lse[first:last] = part, part_lse
            else:
                merge_part(out[first:last], lse[first:last], part, part_lse)
    return out.view(1, count, -1, dim)


def merge_part(out: Tensor, lse: Tensor, part: Tensor, part_lse: Tensor) -> None:
    """Merge attention over further keys into `out` and `lse`, in place.

    Args:
        out: attention over the keys so far, (…, head_dim).
        lse: its log-sum-exp, (…,), float32.
        part: attention over further keys, (…, head_dim).
        part_lse: its log-sum-exp, (…,), float32.
    """
    # weight of the new part: e^part / (e^lse + e^part) = σ(part − lse)
    weight = torch.sigmoid(part_lse - lse).unsqueeze(-1)
    out.lerp_(part, weight.to(part.dtype))
    torch.logaddexp(lse, part_lse, out=lse)


def _by_group(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(1, heads, …) → (key_value_heads, heads of each, …), without copying.

    A key head serves its group of query heads by a stride of zero.
    """
    q = query.view(key.shape[1], -1, *query.shape[2:])
    k = key[0].unsqueeze(1).expand(-1, q.shape[1], -1, -1)
    v = value[0].unsqueeze(1).expand(-1, q.shape[1], -1, -1)
    return q, k, v
