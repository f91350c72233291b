"""The native kernel: attention over the whole tree in one call of our own code for a layer.

A row's result depends on its own sequence's keys and values alone, to the bit: not on what else is
in the pack, on how prefixes are shared or cut, nor on the number of threads. `attention.cpp` of
`rm_core.engine.native` says how. It has no gradients.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rm_core.engine.attention.kept import NO_RUNS, LayerRuns
from rm_core.engine.native import NativeLibrary
from rm_core.engine.native.library import Reads
from rm_core.engine.packing.plan import Pack


@dataclass(frozen=True, slots=True)
class NativePlan:
    """What the rows of a pack read, made once for all layers.

    Attributes:
        pack: segments of the row.
        rows: row indices of the queries, ascending, each once; None for all rows.
    """

    pack: Pack
    rows: NDArray[np.int64] | None = None
    _reads: dict[tuple[int, int], Reads] = field(default_factory=dict, repr=False)

    @property
    def num_rows(self) -> int:
        """Of the queries."""
        return self.pack.num_tokens if self.rows is None else len(self.rows)

    def reads(self, group: int, lanes: int) -> Reads:
        """The plan for layers of so many query heads to a key-value head.

        Args:
            group: query heads of each key-value head.
            lanes: of a block; see `Reads`.
        """
        found = self._reads.get((group, lanes))
        if found is None:
            found = self._reads[group, lanes] = _reads(self.pack, self.rows, group, lanes)
        return found


def can_take(library: NativeLibrary, query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether the kernel computes attention of such tensors.

    Args:
        library: has the kernel.
        query: (1, heads, rows, head_dim).
        key: (1, key_value_heads, tokens, head_dim).
        value: likewise.
    """
    wanted = torch.is_grad_enabled() and any(each.requires_grad for each in (query, key, value))
    return (
        not wanted
        and query.shape[-1] == value.shape[-1] <= library.most_dim
        and all(
            each.device.type == "cpu" and each.dtype == torch.float32 and each.stride(3) == 1
            for each in (query, key, value)
        )
    )


def native_attention(
    library: NativeLibrary,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    plan: NativePlan,
    *,
    scale: float,
    sliding_window: int | None = None,
    kept: LayerRuns = NO_RUNS,
) -> Tensor:
    """Attention of a packed row's queries, all or some, over its tree.

    Args:
        library: has the kernel.
        query: of the plan's rows, (1, heads, rows, head_dim), behind which filling may follow; see
            `can_take` for all three.
        key: of the whole packed row, (1, key_value_heads, tokens, head_dim).
        value: like key.
        plan: the pack's.
        scale: factor on the dot products.
        sliding_window: a token sees itself and the `sliding_window − 1` before it; None for all.
        kept: keys and values of the segments without rows.

    Returns:
        (1, as many rows as `query`, heads, head_dim); zeros in rows that the plan doesn't have.
    """
    reads = plan.reads(query.shape[1] // key.shape[1], library.lanes)
    sources = [(key, value), *(kept[index] for index in _kept_segments(plan.pack))]
    out = library.attention(query, sources, reads, scale=scale, window=sliding_window)
    out[:, plan.num_rows :] = 0
    return out


def _kept_segments(pack: Pack) -> list[int]:
    return [index for index, segment in enumerate(pack.segments) if segment.kept]


def _reads(pack: Pack, rows: NDArray[np.int64] | None, group: int, lanes: int) -> Reads:
    source = {index: 1 + place for place, index in enumerate(_kept_segments(pack))}
    pieces: list[tuple[int, int, int]] = []
    blocks: list[NDArray[np.int64]] = []
    for index, segment in enumerate(pack.segments):
        first, last = (
            np.searchsorted(rows, (segment.start, segment.end)).tolist()
            if rows is not None
            else (segment.start, segment.end)
        )
        starts = np.arange(first * group, last * group, lanes)
        if not len(starts):
            continue
        counts = np.minimum(last * group - starts, lanes)
        blocks.append(np.stack([np.full_like(starts, len(pieces)), starts, counts], axis=1))
        for step in pack.chain(index):
            run = pack.segments[step]
            if run.kept:
                pieces.append((source[step], 0, run.kept))
            else:
                pieces.append((0, run.start, run.end - run.start))
    positions = pack.position_ids if rows is None else pack.position_ids[rows]
    # The last blocks of a segment see the most keys: started first, they leave no thread waiting.
    in_order = np.concatenate(blocks)[::-1]
    return Reads(*map(np.ascontiguousarray, (positions, np.array(pieces), in_order)))
