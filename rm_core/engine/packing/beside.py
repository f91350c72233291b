"""Packs side by side in one row: one adapter's texts behind another's, nothing shared between them.

Adapters on one base share its products, and no hidden state: the same tokens have other keys and
values under each. So each adapter's texts are planned by themselves, and the plans laid end to end.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from rm_core.engine.packing.plan import Pack, Segment


def beside(packs: Sequence[Pack]) -> Pack:
    """Several packs as one row, in order; the reads of each behind those of the one before.

    Args:
        packs: at least one.
    """
    first_rows = list(accumulate((pack.num_tokens for pack in packs), initial=0))
    segments: list[Segment] = []
    for pack, row in zip(packs, first_rows, strict=False):
        first = len(segments)
        segments += [_moved(segment, row, first) for segment in pack.segments]
    return Pack(
        input_ids=np.concatenate([pack.input_ids for pack in packs]),
        position_ids=np.concatenate([pack.position_ids for pack in packs]),
        segments=tuple(segments),
        read_rows=np.concatenate(
            [pack.read_rows + row for pack, row in zip(packs, first_rows, strict=False)]
        ),
        num_sequence_tokens=sum(pack.num_sequence_tokens for pack in packs),
        longest=max(pack.longest for pack in packs),
    )


def _moved(segment: Segment, rows: int, segments: int) -> Segment:
    """A segment behind so many rows and segments."""
    return replace(
        segment,
        start=segment.start + rows,
        end=segment.end + rows,
        subtree_end=segment.subtree_end + rows,
        parent=None if segment.parent is None else segment.parent + segments,
    )
