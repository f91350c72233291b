"""Rotary position embedding's angles by position, with the same bits in every pack."""

from typing import Any

import torch
from torch import Tensor

from rm_core.engine.trunk.deterministic import ROWS


def angles_by_position(
    rotary: Any, hidden: Tensor, positions: Tensor, longest: int
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rows, computed for the positions of one fixed block after the other.

    A library's cosine rounds by vector instructions in another way than without them: by its place
    in such a block a position has its own angle's bits, however many rows there are.

    Args:
        rotary: a trunk's rotary embedding.
        hidden: tells it dtype and device.
        positions: of the rows, (rows,), int64, below `longest`.
        longest: length of the longest sequence; some embeddings stretch by it, so that it is
            shown to them in every block.

    Returns:
        (rows, head_dim) each.
    """
    last = torch.tensor([longest - 1])
    blocks = [
        rotary(
            hidden[None], torch.cat([torch.arange(start, start + ROWS), last])[None].clamp(max=last)
        )
        for start in range(0, longest, ROWS)
    ]
    cos, sin = (torch.cat([block[side][0, :ROWS] for block in blocks]) for side in (0, 1))
    return cos[positions], sin[positions]
