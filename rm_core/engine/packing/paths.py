"""Which keys each query of a pack meets, and in which call: by its position on its path alone.

A path is a text's tokens from the root on. Its keys are cut into tiles of `TILE` at absolute
positions, its queries into blocks of `QUERIES`. A query attends to the earlier tiles of its path
one by one, each whole, and to its own tile from the start up to the end of its own block, under a
mask. A tile that several texts share is one call for all rows below it; what lies across a branch
is listed for each branch. Pure policy: no torch here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rm_core.engine.packing.plan import Pack, Segment

QUERIES = 32
"""Of a block: as many as flash attention on the CPU takes at once in short calls."""

TILE = 256
"""Keys of a tile, a multiple of `QUERIES`: enough for a product's full speed, and few enough that
gathering a text's own tile costs little."""

Indices = NDArray[np.int64]
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class BlockCall:
    """Blocks of queries, each with as many keys of one tile, in one call.

    Attributes:
        queries: query rows block by block, (blocks · QUERIES,); where a block's place is not asked
            for, any row of the same path.
        keys: key rows, as many for each block, (blocks · num_keys,).
        num_keys: of each block.
        offset: position of a block's first query less that of its first key.
        taken: places among `queries` whose results count.
        rows: their query rows.
    """

    queries: Indices
    keys: Indices
    num_keys: int
    offset: int
    taken: Indices
    rows: Indices


@dataclass(frozen=True, slots=True)
class TileCall:
    """One whole tile and the query rows that see all of it.

    Attributes:
        keys: its key rows, (TILE,); a slice where they stand without a gap.
        rows: ranges of query rows.
    """

    keys: Indices | slice
    rows: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class PathPlan:
    """The calls for some rows of a pack, in the order in which their results are merged.

    Key rows are those of the packed row; behind them stand, end to end in the order of their
    segments, the runs that a cache holds.

    Attributes:
        num_rows: query rows.
        window: of tokens that a query sees, itself included; None for all.
        own: blocks with their own tiles; every query row is taken once.
        cut: blocks with earlier tiles that a window cuts, by position.
        tiles: by position.
    """

    num_rows: int
    window: int | None
    own: tuple[BlockCall, ...]
    cut: tuple[BlockCall, ...]
    tiles: tuple[TileCall, ...]

    @classmethod
    def of(
        cls, pack: Pack, *, rows: Indices | None = None, window: int | None = None
    ) -> "PathPlan":
        """Plan the calls.

        Args:
            pack: segments of the packed row.
            rows: row indices of the queries, ascending, each once; None for all.
            window: a token sees itself and the `window − 1` before it; None for all.
        """
        at = np.arange(pack.num_tokens, dtype=np.int64) if rows is None else rows
        own = _Blocks()
        cut: dict[int, _Blocks] = {}
        tiles: dict[int, list[TileCall]] = {}
        for segment, path in zip(pack.segments, _paths(pack), strict=True):
            low, high = np.searchsorted(at, (segment.start, segment.end)).tolist()
            positions = at[low:high] - segment.start + segment.position
            own.add(path, low, positions)
            for tile, whole in _tiles_ending_in(segment, path):
                ends = min(segment.start + (tile + 1) * TILE - segment.position, segment.end)
                first, last = np.searchsorted(at, (ends, segment.subtree_end)).tolist()
                seeing = [(first, last)]
                if window is not None:
                    seen = pack.position_ids[at[first:last]] - tile * TILE < window
                    seeing = [(first + begin, first + end) for begin, end in _runs(seen)]
                if last > first:
                    tiles.setdefault(tile, []).append(TileCall(whole, tuple(seeing)))
            if window is not None and len(positions):
                for tile in range(int(positions[-1]) // TILE):
                    part = cut.setdefault(tile, _Blocks())
                    for begin, end in _runs(_see_a_part(positions, tile, window)):
                        part.add(path, low + begin, positions[begin:end], tile)
        return cls(
            len(at),
            window,
            tuple(own.calls()),
            tuple(call for tile in sorted(cut) for call in cut[tile].calls()),
            tuple(call for tile in sorted(tiles) for call in tiles[tile]),
        )


@dataclass(slots=True)
class _Blocks:
    """Blocks as they are found, by their offset and number of keys: the shape of their call."""

    found: dict[Range, list[tuple[Indices, Indices, Indices]]] = field(default_factory=dict)

    def add(self, path: Indices, low: int, positions: Indices, tile: int | None = None) -> None:
        """Add queries of one path.

        Args:
            path: its key rows.
            low: the first of the query rows, which follow each other.
            positions: of the queries, ascending.
            tile: an earlier tile, whole; None for each block's own, up to the block's end.
        """
        firsts = np.flatnonzero(np.diff(positions // QUERIES, prepend=-1)).tolist()
        for first, after in pairwise([*firsts, len(positions)]):
            block = int(positions[first]) // QUERIES * QUERIES
            start = block // TILE * TILE if tile is None else tile * TILE
            num_keys = block - start + QUERIES if tile is None else TILE
            places = positions[first:after] - block
            queries = np.full(QUERIES, low + first)
            queries[places] = np.arange(low + first, low + after)
            # Keys behind the path's end are hidden by the mask; any of its rows may stand there.
            keys = path[np.minimum(np.arange(start, start + num_keys), len(path) - 1)]
            self.found.setdefault((block - start, num_keys), []).append((queries, keys, places))

    def calls(self) -> Iterator[BlockCall]:
        for (offset, num_keys), blocks in self.found.items():
            queries = np.concatenate([queries for queries, _, _ in blocks])
            taken = [number * QUERIES + places for number, (_, _, places) in enumerate(blocks)]
            places = np.concatenate(taken)
            keys = np.concatenate([keys for _, keys, _ in blocks])
            yield BlockCall(queries, keys, num_keys, offset, places, queries[places])


def _paths(pack: Pack) -> list[Indices]:
    """Of each segment the key rows of its path, root first."""
    paths: list[Indices] = []
    kept = pack.num_tokens
    for segment in pack.segments:
        start, tokens = segment.start, segment.end - segment.start
        if segment.kept:
            start, tokens = kept, segment.kept
            kept += tokens
        own = np.arange(start, start + tokens, dtype=np.int64)
        before = None if segment.parent is None else paths[segment.parent]
        paths.append(own if before is None else np.concatenate([before, own]))
    return paths


def _tiles_ending_in(segment: Segment, path: Indices) -> Iterator[tuple[int, Indices | slice]]:
    """The tiles of a path that end within its last segment, with their key rows."""
    for tile in range(segment.position // TILE, len(path) // TILE):
        rows = path[tile * TILE : (tile + 1) * TILE]
        first = int(rows[0])
        without_gap = bool((np.diff(rows) == 1).all())
        yield tile, slice(first, first + TILE) if without_gap else rows


def _see_a_part(positions: Indices, tile: int, window: int) -> NDArray[np.bool_]:
    """Which queries behind a tile see its last key and not its first one."""
    first = tile * TILE
    behind = positions >= first + TILE
    return behind & (positions - first >= window) & (positions - (first + TILE - 1) < window)


def _runs(flags: NDArray[np.bool_]) -> list[Range]:
    """Where flags are set, without a gap."""
    borders = np.flatnonzero(np.diff(flags, prepend=False, append=False)).tolist()
    return list(zip(borders[::2], borders[1::2], strict=True))
