"""The CUDA kernel: a few variable-length flash calls for the whole tree, merged by log-sum-exp.

One causal call covers every segment's own tokens. Then one full call for each depth of the tree:
all segments of that depth that have something below them, each with the rows below it. The number
of launches is one more than the tree's depth, whatever the number of sequences. Keys of segments
without rows stand behind the row's own, in the segments' order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rm_core.engine.attention.gradients import differentiable
from rm_core.engine.attention.kept import NO_RUNS, LayerRuns
from rm_core.engine.attention.merged import merge_part
from rm_core.engine.packing.plan import Pack, Segment


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
        own = [(s.start, s.end) for s in pack.segments if not s.kept]
        by_depth: dict[int, list[tuple[Segment, tuple[int, int]]]] = {}
        depths: list[int] = []
        behind = pack.num_tokens
        for segment in pack.segments:
            depths.append(0 if segment.parent is None else depths[segment.parent] + 1)
            keys = (segment.start, segment.end)
            if segment.kept:
                keys = (behind, behind + segment.kept)
                behind += segment.kept
            if segment.subtree_end > segment.end:
                by_depth.setdefault(depths[-1], []).append((segment, keys))
        return cls(
            _call(own, own, device, causal=True),
            tuple(
                _call(
                    [(segment.end, segment.subtree_end) for segment, _ in by_depth[depth]],
                    [keys for _, keys in by_depth[depth]],
                    device,
                    causal=False,
                )
                for depth in sorted(by_depth)
            ),
        )


class VarlenKernel(Protocol):
    """What runs one call; queries are (rows, heads, head_dim), keys (keys, key_value_heads, …)."""

    def forward(
        self, call: VarlenCall, query: Tensor, key: Tensor, value: Tensor, scale: float
    ) -> tuple[Tensor, Tensor]:
        """(rows, heads, head_dim) and the log-sum-exp, (rows, heads), float32."""
        ...

    def backward(
        self, call: VarlenCall, saved: "Saved", query: Tensor, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The call's share of the gradients of query, key and value."""
        ...


@dataclass(frozen=True, slots=True)
class Saved:
    """What a call's backward needs of the whole, at the call's rows.

    Attributes:
        grad: of the merged attention, (rows, heads, head_dim).
        out: the merged attention, (rows, heads, head_dim).
        lse: its log-sum-exp, (rows, heads), float32.
        scale: factor on the dot products.
    """

    grad: Tensor
    out: Tensor
    lse: Tensor
    scale: float


def varlen_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    plan: VarlenPlan,
    *,
    scale: float,
    kernel: VarlenKernel | None = None,
    kept: LayerRuns = NO_RUNS,
) -> Tensor:
    """Attention of one packed row over its tree, with gradients where they are wanted.

    Args:
        query: (1, heads, tokens, head_dim), float16 or bfloat16 on CUDA.
        key: (1, key_value_heads, tokens, head_dim).
        value: like key.
        plan: the pack's calls.
        scale: factor on the dot products.
        kernel: what runs a call; None for torch's flash attention.
        kept: keys and values of the segments without rows; with them there are no gradients.

    Returns:
        (1, tokens, heads, head_dim).
    """
    # (1, heads, tokens, dim) -> (tokens, heads, dim)
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    attention = _VarlenAttention(plan, scale, FlashKernel() if kernel is None else kernel)
    if kept:
        runs = [kept[index] for index in sorted(kept)]
        keys = torch.cat([k, *(run.key[0].transpose(0, 1) for run in runs)])
        values = torch.cat([v, *(run.value[0].transpose(0, 1) for run in runs)])
        return attention.over(q, keys, values)[0].unsqueeze(0)
    return differentiable(attention, q, k, v).unsqueeze(0)


@dataclass(frozen=True, slots=True)
class _VarlenAttention:
    """The plan's calls merged, and their gradients; tensors are (tokens, heads, head_dim)."""

    plan: VarlenPlan
    scale: float
    kernel: VarlenKernel

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Attention, and its log-sum-exp, (tokens, heads), float32."""
        return self.over(query, key, value)

    def over(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """The same, where kept keys and values may stand behind the row's own."""
        row = slice(len(query))
        out, lse = self.kernel.forward(self.plan.own, query, key[row], value[row], self.scale)
        for call in self.plan.below:
            rows, keys = call.rows, call.keys
            part, part_lse = self.kernel.forward(
                call, query[rows], key[keys], value[keys], self.scale
            )
            merged, merged_lse = out[rows], lse[rows]
            merge_part(merged, merged_lse, part, part_lse)
            out[rows], lse[rows] = merged, merged_lse
        return out, lse

    def backward(
        self, grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, lse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of query, key and value."""
        grad = grad.contiguous()
        saved = Saved(grad, out, lse, self.scale)
        dq, dk, dv = self.kernel.backward(self.plan.own, saved, query, key, value)
        for call in self.plan.below:
            rows, keys = call.rows, call.keys
            saved = Saved(grad[rows], out[rows], lse[rows], self.scale)
            part_q, part_k, part_v = self.kernel.backward(
                call, saved, query[rows], key[keys], value[keys]
            )
            # Rows and keys stand at most once in a call, so adding by index loses nothing.
            dq[rows] += part_q
            dk[keys] += part_k
            dv[keys] += part_v
        return dq, dk, dv


class FlashKernel:
    """Torch's variable-length flash attention and its backward.

    Splitting keys over blocks is switched off: it depends on the pack's longest block, and a text's
    reward must not depend on its company.
    """

    def forward(
        self, call: VarlenCall, query: Tensor, key: Tensor, value: Tensor, scale: float
    ) -> tuple[Tensor, Tensor]:
        """(rows, heads, head_dim) and the log-sum-exp, (rows, heads), float32."""
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
            window_size=_window(call),
            enable_gqa=query.shape[1] != key.shape[1],
            num_splits=1,
        )
        return out, lse.transpose(0, 1).float().contiguous()  # (heads, tokens) -> (tokens, heads)

    def backward(
        self, call: VarlenCall, saved: Saved, query: Tensor, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The call's share of the gradients of query, key and value."""
        import torch.nn.attention.varlen  # registers the operator

        unused = torch.zeros(2, dtype=torch.uint64, device=query.device)  # dropout's random state
        dq, dk, dv = torch.ops.torch_attn._varlen_attn_backward(
            saved.grad,
            query,
            key,
            value,
            saved.out,
            saved.lse.transpose(0, 1).contiguous(),  # (tokens, heads) -> (heads, tokens)
            call.row_borders,
            call.key_borders,
            call.most_rows,
            call.most_keys,
            call.causal,
            unused,
            saved.scale,
            list(_window(call)),
        )
        return dq, dk, dv


def whole_blocks(ranges: Sequence[tuple[int, int]], device: torch.device) -> VarlenCall:
    """The call by which each range of rows attends to the whole of itself."""
    return _call(ranges, ranges, device, causal=False)


def _window(call: VarlenCall) -> tuple[int, int]:
    return (-1, 0) if call.causal else (-1, -1)


def _call(
    rows: Sequence[tuple[int, int]],
    keys: Sequence[tuple[int, int]],
    device: torch.device,
    *,
    causal: bool,
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


def _indices(ranges: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    indices = np.concatenate([np.arange(start, end, dtype=np.int64) for start, end in ranges])
    return torch.from_numpy(indices).to(device)


def _borders(ranges: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    borders = np.cumsum([0, *(end - start for start, end in ranges)], dtype=np.int32)
    return torch.from_numpy(borders).to(device)
