"""Attention by path: each text meets the arithmetic that it meets alone, whatever it shares.

With what a query is computed, and in which shape, follows from its position alone (see
`rm_core.engine.packing.paths`): not from where prefixes branch, what else is in the pack, or what a
cache holds. Flash attention on the CPU takes each head's blocks of queries apart, so a block's bits
don't depend on how many are in a call. Parts are merged by their log-sum-exp (see `merged`), in the
order of positions, by operations whose bits depend on no size (see `rm_core.engine.elementwise`).
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rm_core.engine.attention.kept import NO_RUNS, LayerRuns
from rm_core.engine.elementwise import in_whole_vectors
from rm_core.engine.packing.paths import QUERIES, BlockCall, PathPlan

LONGEST_CALL = 5 * QUERIES
"""Query rows of one call over a tile. From 192 on flash attention takes 64 at once."""


def path_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    plan: PathPlan,
    *,
    num_tokens: int,
    scale: float,
    kept: LayerRuns = NO_RUNS,
) -> Tensor:
    """Attention of a packed row's queries over their paths; without gradients.

    Args:
        query: of the plan's rows, (1, heads, rows or more, head_dim), on the CPU.
        key: of the whole packed row, (1, key_value_heads, tokens or more, head_dim).
        value: like key.
        plan: the calls.
        num_tokens: of the packed row; what stands behind them in `key` and `value` is filling.
        scale: factor on the dot products.
        kept: keys and values of the segments without rows.

    Returns:
        (1, as many rows as `query`, heads, head_dim); zeros in rows that the plan doesn't have.
    """
    rows, groups = query.shape[2], key.shape[1]
    whole = -rows % QUERIES  # a call over a tile takes whole blocks of rows
    q = _by_row(torch.nn.functional.pad(query, (0, 0, 0, whole)) if whole else query)
    attention = _PathAttention(
        q.view(len(q), groups, -1, q.shape[-1]),
        _KeyRows(key[:, :, :num_tokens], (run.key for run in kept.values())),
        _KeyRows(value[:, :, :num_tokens], (run.value for run in kept.values())),
        scale,
    )
    attention.run(plan)
    out = attention.out[:rows].to(query.dtype)
    return out.view(1, rows, -1, query.shape[-1])


class _KeyRows:
    """Keys or values by their rows, which stand in several tensors end to end.

    What a cache holds stays where it is: only what a call can't read in place is copied.

    Args:
        row: of the packed row, (1, groups, rows, head_dim).
        kept: of the runs that a cache holds, likewise.
    """

    def __init__(self, row: Tensor, kept: Iterable[Tensor]) -> None:
        own = _by_row(row)
        self._dtype = own.dtype
        self._sources = [own, *(run[0].transpose(0, 1) for run in kept)]
        self._starts = np.cumsum([0, *map(len, self._sources)])

    def rows(self, at: NDArray[np.int64] | slice) -> Tensor:
        """Rows by their numbers, (rows, groups, head_dim); a slice of one tensor without copying.

        Args:
            at: row numbers.
        """
        if isinstance(at, slice):
            source = int(np.searchsorted(self._starts, at.start, side="right")) - 1
            start, after = self._starts[source : source + 2].tolist()
            if at.stop <= after:
                return self._sources[source][at.start - start : at.stop - start].to(self._dtype)
            at = np.arange(at.start, at.stop)
        own = self._sources[0]
        if len(self._sources) == 1:
            return own[torch.from_numpy(at)]
        found = own.new_empty(len(at), *own.shape[1:])
        sources = np.searchsorted(self._starts, at, side="right") - 1
        for source in np.unique(sources).tolist():
            mine = np.flatnonzero(sources == source)
            rows = self._sources[source][torch.from_numpy(at[mine] - self._starts[source])]
            found[torch.from_numpy(mine)] = rows.to(self._dtype)
        return found


class _PathAttention:
    """The attention of some rows, part by part; float32 or float64.

    Args:
        query: (rows, groups, heads of each, head_dim), contiguous, whole blocks of rows.
        key: rows of (groups, head_dim).
        value: like key.
        scale: factor on the dot products.
    """

    def __init__(self, query: Tensor, key: "_KeyRows", value: "_KeyRows", scale: float) -> None:
        self._query, self._key, self._value, self._scale = query, key, value, scale
        self.out = torch.zeros_like(query)
        self._lse = query.new_zeros(query.shape[:3])

    def run(self, plan: PathPlan) -> None:
        for call in plan.own:
            part, lse = self._blocks(call, plan.window)
            self._take(call, part, lse)
        for call in plan.cut:
            part, lse = self._blocks(call, plan.window)
            queries = torch.from_numpy(call.queries)
            self._take(call, *merged(self.out[queries], self._lse[queries], part, lse))
        for tile in plan.tiles:
            key, value = (self._of_heads(each.rows(tile.keys)) for each in (self._key, self._value))
            for rows in tile.rows:
                self._add_tile(rows, key, value)

    def _blocks(self, call: BlockCall, window: int | None) -> tuple[Tensor, Tensor]:
        """Blocks of queries with keys of their own, by row, and their log-sum-exp.

        A group's heads stand below each other as further queries, as they share its keys.
        """
        _, groups, heads, dim = self._query.shape
        blocks = len(call.queries) // QUERIES
        query = self._query[torch.from_numpy(call.queries)]
        query = query.view(blocks, QUERIES, groups, heads, dim).permute(0, 2, 3, 1, 4)
        key, value = (
            each.rows(call.keys).view(blocks, call.num_keys, groups, dim).transpose(1, 2)
            for each in (self._key, self._value)
        )
        part, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query.reshape(blocks, groups, heads * QUERIES, dim),
            key,
            value,
            0.0,
            False,
            attn_mask=_mask(call.offset, call.num_keys, window, heads, query.dtype),
            scale=self._scale,
        )
        part = part.view(blocks, groups, heads, QUERIES, dim).permute(0, 3, 1, 2, 4)
        lse = lse.view(blocks, groups, heads, QUERIES).permute(0, 3, 1, 2)
        return part.reshape(-1, groups, heads, dim), lse.reshape(-1, groups, heads)

    def _take(self, call: BlockCall, part: Tensor, lse: Tensor) -> None:
        rows, taken = torch.from_numpy(call.rows), torch.from_numpy(call.taken)
        self.out[rows], self._lse[rows] = part[taken], lse[taken]

    def _of_heads(self, of_groups: Tensor) -> Tensor:
        """(keys, groups, head_dim) → (groups, heads of each, keys, head_dim), without copying."""
        heads = self._query.shape[2]
        return of_groups.permute(1, 0, 2).unsqueeze(1).expand(-1, heads, -1, -1)

    def _add_tile(self, rows: tuple[int, int], key: Tensor, value: Tensor) -> None:
        """Merge attention over a whole tile into a range of rows."""
        for first, last, start, end in _whole_blocks(*rows, len(self._query)):
            part, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                self._query[start:end].permute(1, 2, 0, 3),
                key,
                value,
                0.0,
                False,
                scale=self._scale,
            )
            out, out_lse = merged(
                self.out[start:end],
                self._lse[start:end],
                part.permute(2, 0, 1, 3),
                lse.permute(2, 0, 1),
            )
            mine = slice(first - start, last - start)
            self.out[first:last], self._lse[first:last] = out[mine], out_lse[mine]


def merged(out: Tensor, lse: Tensor, part: Tensor, part_lse: Tensor) -> tuple[Tensor, Tensor]:
    """Attention over keys so far and over further ones as attention over both, and its lse.

    Args:
        out: over the keys so far, (rows, …, head_dim), whole blocks of rows.
        lse: its log-sum-exp, (rows, …).
        part: over further keys, like out.
        part_lse: its log-sum-exp, like lse.
    """
    lse, part_lse = lse.clone(memory_format=torch.contiguous_format), part_lse.contiguous()
    weight = part_lse - lse
    in_whole_vectors(torch.sigmoid_, weight)
    in_whole_vectors(lambda so_far, new: torch.logaddexp(so_far, new, out=so_far), lse, part_lse)
    # Not by `lerp`, which rounds by vector instructions in another way than without.
    return (part - out).mul_(weight.unsqueeze(-1)).add_(out), lse


def _whole_blocks(first: int, last: int, rows: int) -> Iterator[tuple[int, int, int, int]]:
    """Calls for a range of rows: first and last row that count, first and last that are computed.

    Rows are computed by whole blocks; those too many are neighbours, whose results are left.
    """
    for begin in range(first, last, LONGEST_CALL):
        end = min(last, begin + LONGEST_CALL)
        computed = -(-(end - begin) // QUERIES) * QUERIES
        start = min(begin, rows - computed)
        yield begin, end, start, start + computed


def _by_row(each: Tensor) -> Tensor:
    """(1, heads, rows, head_dim) → (rows, heads, head_dim), contiguous, at least float32."""
    # In half precision flash attention packs keys by how many calls there are.
    dtype = torch.promote_types(each.dtype, torch.float32)
    return each[0].transpose(0, 1).to(dtype).contiguous()


@lru_cache(maxsize=256)
def _mask(offset: int, keys: int, window: int | None, heads: int, dtype: torch.dtype) -> Tensor:
    """What a block's queries see of its keys, (heads · QUERIES, keys): 0 or −∞."""
    distance = torch.arange(QUERIES)[:, None] + offset - torch.arange(keys)[None]
    hidden = distance < 0
    if window is not None:
        hidden |= distance >= window
    mask = torch.zeros(hidden.shape, dtype=dtype).masked_fill(hidden, float("-inf"))
    return mask.repeat(heads, 1)
