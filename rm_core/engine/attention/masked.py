"""The masked kernel: each segment against its ancestors' and its own keys, under a mask.

Slower than the others, and right for every device, sliding window and soft-cap. Its gradients are
autograd's own: nothing is written in place.
"""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from rm_core.engine.attention.kept import NO_RUNS, LayerRun, LayerRuns
from rm_core.engine.packing.plan import Pack, Segment


def masked_attention(  # noqa: PLR0913  each says something of its own
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pack: Pack,
    position_ids: Tensor,
    *,
    scale: float,
    sliding_window: int | None,
    softcap: float | None,
    kept: LayerRuns = NO_RUNS,
) -> Tensor:
    """Attention of one packed row over its tree.

    Args:
        query: (1, heads, tokens, head_dim).
        key: (1, key_value_heads, tokens, head_dim).
        value: like key; its head_dim may differ.
        pack: segments of the row.
        position_ids: (tokens,), int64.
        scale: factor on the dot products.
        sliding_window: a token sees itself and the `sliding_window − 1` before it; None for all.
        softcap: s ↦ softcap·tanh(s/softcap) on the scaled dot products; None for none.
        kept: keys and values of the segments without rows.

    Returns:
        (1, tokens, heads, head_dim of value).
    """
    tokens, dim = query.shape[2:]
    q = query.view(key.shape[1], -1, tokens, dim)
    parts = []
    for index, segment in enumerate(pack.segments):
        if segment.kept:
            continue
        chain = pack.chain(index)
        runs = [_run(pack.segments[i], key, value, kept.get(i)) for i in chain]
        keys = _by_group(torch.cat([run[0] for run in runs], dim=1), q.shape[1])
        values = _by_group(torch.cat([run[1] for run in runs], dim=1), q.shape[1])
        key_positions = torch.cat([_positions(pack.segments[i], position_ids) for i in chain])
        own = slice(segment.start, segment.end)
        distance = position_ids[own, None] - key_positions[None, :]
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
        parts.append(part.permute(2, 0, 1, 3))
    # Segments stand in row order. Writing into one tensor would have autograd copy it per segment.
    return torch.cat(parts).view(1, tokens, -1, value.shape[-1])


def _run(
    segment: Segment, key: Tensor, value: Tensor, kept: LayerRun | None
) -> tuple[Tensor, Tensor]:
    """A segment's keys and values, (key_value_heads, tokens, head_dim)."""
    if kept is not None:
        return kept.key[0], kept.value[0]
    own = slice(segment.start, segment.end)
    return key[0, :, own], value[0, :, own]


def _positions(segment: Segment, position_ids: Tensor) -> Tensor:
    if segment.kept:
        end = segment.position + segment.kept
        return torch.arange(segment.position, end, device=position_ids.device)
    return position_ids[segment.start : segment.end]


def _by_group(of_group: Tensor, heads: int) -> Tensor:
    """(groups, tokens, head_dim) → (groups, heads of each, tokens, head_dim), without copying."""
    return of_group.unsqueeze(1).expand(-1, heads, -1, -1)
