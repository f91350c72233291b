"""The masked kernel: each segment against its ancestors' and its own keys, under a mask.

Slower than the others, and right for every device, sliding window and soft-cap. Its gradients are
autograd's own: nothing is written in place.
"""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from rm_core.engine.packing.plan import Pack


def masked_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pack: Pack,
    position_ids: Tensor,
    *,
    scale: float,
    sliding_window: int | None,
    softcap: float | None,
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

    Returns:
        (1, tokens, heads, head_dim of value).
    """
    tokens, dim = query.shape[2:]
    q = query.view(key.shape[1], -1, tokens, dim)
    k = key[0].unsqueeze(1).expand(-1, q.shape[1], -1, -1)
    v = value[0].unsqueeze(1).expand(-1, q.shape[1], -1, -1)
    parts = []
    for index, segment in enumerate(pack.segments):
        chain = [pack.segments[i] for i in pack.chain(index)]
        keys = torch.cat([k[:, :, s.start : s.end] for s in chain], dim=2)
        values = torch.cat([v[:, :, s.start : s.end] for s in chain], dim=2)
        key_positions = torch.cat([position_ids[s.start : s.end] for s in chain])
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
    return torch.cat(parts).view(1, tokens, -1, v.shape[-1])
