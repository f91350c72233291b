"""Tree attention: one function behind transformers' AttentionInterface for every decoder.

The row holds segments in depth-first order (see `plan`). Each segment attends to itself causally;
everything below it attends to it fully. The parts are merged by their log-sum-exp, which is exact:
softmax over a union of key sets is the average of the parts weighted by exp(lse)
(the identity behind FlashAttention's tiling, Dao et al. 2022, arXiv:2205.14135, §3.1).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from rm_core.engine.plan import Pack

ATTENTION_NAME = "rewardd_tree"
"""The name under which transformers knows our attention; it makes no mask for it."""


@dataclass(frozen=True, slots=True)
class TreePlan:
    """A pack's structure as attention needs it, made once and used by every layer.

    Attributes:
        pack: segments and positions of the row.
        position_ids: (tokens,), int64, on the device.
        read_rows: rows that heads read, (sequences,), int64, on the device.
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
        value: like key.
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
    heads = query.shape[1]
    # (1, heads, tokens, dim) -> (key_value_heads, group, tokens, dim), without copying: a key head
    # serves its group of query heads by a stride of zero.
    q = query.view(key.shape[1], heads // key.shape[1], *query.shape[2:])
    k = key[0].unsqueeze(1).expand(-1, q.shape[1], -1, -1)
    v = value[0].unsqueeze(1).expand(-1, q.shape[1], -1, -1)
    plain = softcap is None and sliding_window is None and value.shape[-1] == query.shape[-1]
    if plain and query.device.type == "cpu":
        out = _merged(q, k, v, tree.pack, scale)
    else:
        out = _chained(q, k, v, tree, scale, sliding_window, softcap)
    return out.reshape(1, out.shape[0], heads, -1), None


def _merged(q: Tensor, k: Tensor, v: Tensor, pack: Pack, scale: float) -> Tensor:
    """Flash attention part by part, merged by log-sum-exp; (tokens, groups, per_group, dim)."""
    groups, per_group, tokens, dim = q.shape
    out = q.new_empty(tokens, groups, per_group, dim)
    lse = torch.empty(tokens, groups, per_group, dtype=torch.float32, device=q.device)
    for segment in pack.segments:
        own = slice(segment.start, segment.end)
        below = slice(segment.end, segment.subtree_end)
        for rows, causal in ((own, True), (below, False)):
            if rows.start == rows.stop:
                continue
            part, part_lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                q[:, :, rows], k[:, :, own], v[:, :, own], 0.0, causal, scale=scale
            )
            # (groups, per_group, rows, …) -> (rows, groups, per_group, …)
            part, part_lse = part.permute(2, 0, 1, 3), part_lse.permute(2, 0, 1)
            if segment.parent is None:  # nothing was attended to before
                out[rows], lse[rows] = part, part_lse
                continue
            # weight of the new part: e^part / (e^lse + e^part) = σ(part − lse)
            weight = torch.sigmoid(part_lse - lse[rows]).unsqueeze(-1)
            out[rows] = torch.lerp(out[rows], part, weight.to(part.dtype))
            lse[rows] = torch.logaddexp(lse[rows], part_lse)
    return out


def _chained(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tree: TreePlan,
    scale: float,
    sliding_window: int | None,
    softcap: float | None,
) -> Tensor:
    """Each segment against its ancestors' and its own keys under an explicit mask.

    Slower than merging and works for every device, window and soft-cap.
    """
    out = q.new_empty(q.shape[2], q.shape[0], q.shape[1], v.shape[-1])
    for index, segment in enumerate(tree.pack.segments):
        chain = [tree.pack.segments[i] for i in tree.pack.chain(index)]
        keys = torch.cat([k[:, :, s.start : s.end] for s in chain], dim=2)
        values = torch.cat([v[:, :, s.start : s.end] for s in chain], dim=2)
        key_positions = torch.cat([tree.position_ids[s.start : s.end] for s in chain])
        own = slice(segment.start, segment.end)
        distance = tree.position_ids[own, None] - key_positions[None, :]
        visible = distance >= 0
        if sliding_window is not None:
            visible &= distance < sliding_window
        if softcap is None:
            part = scaled_dot_product_attention(
                q[:, :, own], keys, values, attn_mask=visible, scale=scale
            )
        else:
            scores = softcap * torch.tanh(q[:, :, own] @ keys.mT * scale / softcap)
            scores = scores.masked_fill(~visible, float("-inf"))
            part = torch.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype) @ values
        out[own] = part.permute(2, 0, 1, 3)
    return out


AttentionInterface.register(ATTENTION_NAME, tree_attention)
