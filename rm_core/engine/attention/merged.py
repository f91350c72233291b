"""The CPU kernel: flash attention part by part, merged by log-sum-exp.

Merging is exact: softmax over a union of key sets is the average of the parts weighted by exp(lse),
the identity behind FlashAttention's tiling (Dao et al. 2022, arXiv:2205.14135, §3.1). For its
gradients see `gradients`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rm_core.engine.attention.gradients import differentiable
from rm_core.engine.attention.kept import NO_RUNS, LayerRuns
from rm_core.engine.packing.plan import Pack


def merged_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pack: Pack,
    *,
    scale: float,
    kept: LayerRuns = NO_RUNS,
) -> Tensor:
    """Attention of one packed row over its tree, with gradients where they are wanted.

    Args:
        query: (1, heads, tokens, head_dim).
        key: (1, key_value_heads, tokens, head_dim).
        value: like key.
        pack: segments of the row.
        scale: factor on the dot products.
        kept: keys and values of the segments without rows; they get no gradients.

    Returns:
        (1, tokens, heads, head_dim).
    """
    return differentiable(_MergedAttention(pack, scale, kept), query, key, value)


@dataclass(frozen=True, slots=True)
class _MergedAttention:
    """Attention part by part and its gradients; a part is some rows over one segment's keys."""

    pack: Pack
    scale: float
    kept: LayerRuns

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """(1, tokens, heads, head_dim) and the log-sum-exp, (tokens, groups, heads of each)."""
        tokens, dim = query.shape[2:]
        groups = key.shape[1]
        q, k, v = _by_group(query, key, value)
        out = q.new_empty(tokens, groups, q.shape[1], dim)
        lse = torch.empty(tokens, groups, q.shape[1], dtype=_lse_dtype(q))
        for rows, keys, causal in _parts(self.pack):
            part, part_lse = _part(
                q[:, :, rows], k[:, :, keys], v[:, :, keys], causal=causal, scale=self.scale
            )
            if causal:
                out[rows], lse[rows] = part, part_lse
            else:
                merge_part(out[rows], lse[rows], part, part_lse)
        for rows, k, v in _kept_parts(self.pack, self.kept, q.shape[1]):
            part, part_lse = _part(q[:, :, rows], k, v, causal=False, scale=self.scale)
            merge_part(out[rows], lse[rows], part, part_lse)
        return out.view(1, tokens, -1, dim), lse

    def backward(
        self, grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, lse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of query, key and value, in their shapes."""
        q, k, v = _by_group(query, key, value)
        groups, heads, tokens, dim = q.shape
        # (1, tokens, heads, head_dim) -> (groups, heads of each, tokens, head_dim)
        grad, out = (
            each.contiguous().view(tokens, groups, heads, dim).permute(1, 2, 0, 3)
            for each in (grad, out)
        )
        lse = lse.permute(1, 2, 0)
        dq = q.new_empty(tokens, groups, heads, dim)
        dk, dv = (k.new_empty(tokens, groups, dim) for _ in range(2))
        for rows, keys, causal in _parts(self.pack):
            of_rows = tuple(each[:, :, rows] for each in (grad, q, out, lse))
            part_q, part_k, part_v = self._part_backward(
                of_rows, k[:, :, keys], v[:, :, keys], causal=causal
            )
            # A key head gets the gradients of all the query heads that it serves.
            parts = (part_q.permute(2, 0, 1, 3), _of_group(part_k), _of_group(part_v))
            for whole, place, part in zip((dq, dk, dv), (rows, keys, keys), parts, strict=True):
                if causal:  # every row's and key's first part
                    whole[place] = part
                else:
                    whole[place] += part
        for rows, k, v in _kept_parts(self.pack, self.kept, heads):
            of_rows = tuple(each[:, :, rows] for each in (grad, q, out, lse))
            part_q, _, _ = self._part_backward(of_rows, k, v, causal=False)
            dq[rows] += part_q.permute(2, 0, 1, 3)
        return (
            dq.view(1, tokens, -1, dim).transpose(1, 2),
            dk.transpose(0, 1)[None],
            dv.transpose(0, 1)[None],
        )

    def _part_backward(
        self, of_rows: tuple[Tensor, ...], key: Tensor, value: Tensor, *, causal: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A part's shares of the gradients of query, key and value, by group and head.

        Args:
            of_rows: gradient of the output, query, output and log-sum-exp of the part's rows.
            key: of the part.
            value: of the part.
            causal: whether each row sees the keys up to its own place.
        """
        grad, query, out, lse = of_rows
        gradients: tuple[Tensor, Tensor, Tensor] = (
            torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                grad, query, key, value, out, lse, 0.0, causal, scale=self.scale
            )
        )
        return gradients


def merged_attention_at(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pack: Pack,
    rows: NDArray[np.int64],
    *,
    scale: float,
    kept: LayerRuns = NO_RUNS,
) -> Tensor:
    """Attention of a few rows only, over the same tree; without gradients.

    Args:
        query: of those rows, (1, heads, rows, head_dim).
        key: of the whole packed row, (1, key_value_heads, tokens, head_dim).
        value: like key.
        pack: segments of the row.
        rows: row indices of the queries, ascending, each once, (rows,).
        scale: factor on the dot products.
        kept: keys and values of the segments without rows.

    Returns:
        (1, rows, heads, head_dim).
    """
    count, dim = query.shape[2:]
    groups = key.shape[1]
    q, k, v = _by_group(query, key, value)
    out = q.new_empty(count, groups, q.shape[1], dim)
    lse = torch.empty(count, groups, q.shape[1], dtype=_lse_dtype(q))
    for index, segment in enumerate(pack.segments):
        own, below, after = np.searchsorted(
            rows, (segment.start, segment.end, segment.subtree_end)
        ).tolist()
        keys, values = k[:, :, segment.start :], v[:, :, segment.start :]
        if index in kept:
            keys, values = (_of_heads(each, q.shape[1]) for each in kept[index])
        # A row of the segment itself sees the keys up to its own place, rows below it see all.
        parts = [(at, at + 1, int(rows[at]) + 1 - segment.start) for at in range(own, below)]
        if after > below:
            parts.append((below, after, segment.kept or segment.end - segment.start))
        for first, last, seen in parts:
            part, part_lse = _part(
                q[:, :, first:last], keys[:, :, :seen], values[:, :, :seen], scale=scale
            )
            if segment.parent is None:
                out[first:last], lse[first:last] = part, part_lse
            else:
                merge_part(out[first:last], lse[first:last], part, part_lse)
    return out.view(1, count, -1, dim)


def merge_part(out: Tensor, lse: Tensor, part: Tensor, part_lse: Tensor) -> None:
    """Merge attention over further keys into `out` and `lse`, in place.

    Args:
        out: attention over the keys so far, (…, head_dim).
        lse: its log-sum-exp, (…,), float32 (float64 where out is).
        part: attention over further keys, (…, head_dim).
        part_lse: its log-sum-exp, (…,), like lse.
    """
    # weight of the new part: e^part / (e^lse + e^part) = σ(part − lse)
    weight = torch.sigmoid(part_lse - lse).unsqueeze(-1)
    out.lerp_(part, weight.to(part.dtype))
    torch.logaddexp(lse, part_lse, out=lse)


def _parts(pack: Pack) -> Iterator[tuple[slice, slice, bool]]:
    """Rows, keys and whether causal: first every segment over itself, then the rows below it."""
    segments = [segment for segment in pack.segments if not segment.kept]
    for segment in segments:
        own = slice(segment.start, segment.end)
        yield own, own, True
    for segment in segments:
        if segment.end < segment.subtree_end:
            own = slice(segment.start, segment.end)
            yield slice(segment.end, segment.subtree_end), own, False


def _kept_parts(pack: Pack, kept: LayerRuns, heads: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """The rows below each segment without rows, and its keys and values by group and head."""
    for index, run in kept.items():
        segment = pack.segments[index]
        key, value = (_of_heads(each, heads) for each in run)
        yield slice(segment.end, segment.subtree_end), key, value


def _part(
    q: Tensor, k: Tensor, v: Tensor, *, scale: float, causal: bool = False
) -> tuple[Tensor, Tensor]:
    """Attention of some rows over some keys, (rows, groups, heads of each, …), and its lse."""
    part, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q, k, v, 0.0, causal, scale=scale
    )
    return part.permute(2, 0, 1, 3), lse.permute(2, 0, 1)


def _by_group(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(1, heads, …) → (key_value_heads, heads of each, …), without copying."""
    q = query.view(key.shape[1], -1, *query.shape[2:])
    return q, _of_heads(key, q.shape[1]), _of_heads(value, q.shape[1])


def _of_heads(of_groups: Tensor, heads: int) -> Tensor:
    """(1, groups, …) → (groups, heads of each, …): a key head serves its heads by a stride of 0."""
    return of_groups[0].unsqueeze(1).expand(-1, heads, -1, -1)


def _of_group(grad: Tensor) -> Tensor:
    """(groups, heads of each, keys, head_dim) → (keys, groups, head_dim), summed over heads."""
    return grad.sum(dim=1).transpose(0, 1)


def _lse_dtype(query: Tensor) -> torch.dtype:
    return torch.promote_types(query.dtype, torch.float32)
