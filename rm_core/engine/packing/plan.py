"""The plan of a pack: sequences laid end to end in one row, shared prefixes once.

A radix tree over token ids: a node is a run of tokens (a *segment*), a child continues it. The tree
is laid out in depth-first order, so that everything below a segment follows it without a gap: the
rows [end, subtree_end). Attention needs nothing else: each segment attends to itself causally, and
the rows below it attend to it fully. Pure policy: no torch here.

Where a cache holds the keys and values of a sequence's beginning, that beginning is segments
without rows: nothing of it is computed, and the rows below it attend to what the cache holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

DEFAULT_MIN_SHARED_TOKENS = 8
"""A common prefix shorter than this saves less than its own attention call costs."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of tokens in the row, or one of which a cache holds the keys and values.

    Attributes:
        start: first row index.
        end: one past the last row index; `start` where a cache holds the run.
        subtree_end: one past the last row index of everything that continues this segment.
        position: position id of the first token.
        parent: index of the segment that this one continues; None at a root.
        kept: tokens of a run that a cache holds; 0 for a run in the row.
    """

    start: int
    end: int
    subtree_end: int
    position: int
    parent: int | None
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Pack:
    """Sequences that one forward pass takes.

    Attributes:
        input_ids: token ids of the row, (tokens,), int64.
        position_ids: each token's position in its own sequence, (tokens,), int64.
        segments: in row order; a parent stands before its children.
        read_rows: row indices that heads read, (reads,), int64: each sequence's own read position
            in order, then what else is read of the first, of the second … Equal sequences share
            theirs.
        num_sequence_tokens: tokens of all sequences before sharing.
        longest: length of the longest sequence in tokens, what a cache holds of it included.
        owners: of each segment, the index of a sequence that goes through it.
        taken: of each sequence, how many leading tokens come from a cache.
    """

    input_ids: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    segments: tuple[Segment, ...]
    read_rows: NDArray[np.int64]
    num_sequence_tokens: int
    longest: int
    owners: tuple[int, ...] = ()
    taken: tuple[int, ...] = ()

    @property
    def num_tokens(self) -> int:
        """Tokens that the forward computes."""
        return len(self.input_ids)

    def chain(self, index: int) -> list[int]:
        """Indices of a segment's ancestors and itself, root first."""
        chain: list[int] = []
        current: int | None = index
        while current is not None:
            chain.append(current)
            current = self.segments[current].parent
        return chain[::-1]


@dataclass(slots=True)
class _Node:
    """A run of tokens while the tree is built: unique sequence `owner`'s tokens [begin, end)."""

    owner: int
    begin: int
    end: int
    parent: int | None
    low: int
    high: int
    kept: bool = False


_COMPUTED = np.uint32(2**31)
"""Set in a token that is computed: it is another symbol than the same token in a cache."""


def plan_pack(
    sequences: Sequence[Sequence[int]],
    read_positions: Sequence[int],
    *,
    extra_positions: Sequence[Sequence[int]] | None = None,
    share: bool = True,
    min_shared_tokens: int = DEFAULT_MIN_SHARED_TOKENS,
    cached: Sequence[Sequence[int]] | None = None,
) -> Pack:
    """Lay sequences out in one row, each distinct prefix once.

    Args:
        sequences: token ids below 2³¹, none empty.
        read_positions: index into each sequence that its head reads.
        extra_positions: further such indices of each sequence; None for none. Tokens after the last
            read can't influence a causal model's states there and are left out of the row.
        share: whether common prefixes and equal sequences are computed once; off, each sequence
            is a segment of its own.
        min_shared_tokens: shorter common runs are not worth a segment of their own.
        cached: of each sequence, where the runs of its beginning that a cache holds end, ascending:
            the first is [0, ends[0]), the next [ends[0], ends[1]) … What is read is computed, so
            they are taken up to the first read alone. None for none; needs `share`.

    Returns:
        The pack.
    """
    further = [()] * len(sequences) if extra_positions is None else extra_positions
    all_reads = [(read, *also) for read, also in zip(read_positions, further, strict=True)]
    needed = [
        np.asarray(ids[: max(reads) + 1], dtype=np.int64)
        for ids, reads in zip(sequences, all_reads, strict=True)
    ]
    ends = _usable(cached, all_reads, needed, min_shared_tokens) if cached else [()] * len(needed)
    if share:
        order, firsts, symbols = _sort_unique(needed, ends)
        nodes = _radix_tree(symbols, [ends[i] for i in firsts], max(1, min_shared_tokens))
    else:
        order = firsts = list(range(len(needed)))
        nodes = [_Node(i, 0, len(ids), None, i, i + 1) for i, ids in enumerate(needed)]
    segments, leaves = _lay_out(nodes, [len(needed[i]) for i in firsts])
    reads = list(zip(order, read_positions, strict=True))
    reads += [(i, at) for i, also in zip(order, further, strict=True) for at in also]
    computed = [node for node in nodes if not node.kept]
    rows = [needed[firsts[node.owner]][node.begin : node.end] for node in computed]
    positions = [np.arange(node.begin, node.end, dtype=np.int64) for node in computed]
    return Pack(
        input_ids=np.concatenate(rows),
        position_ids=np.concatenate(positions),
        segments=segments,
        read_rows=np.array([_row(segments, leaves[i], at) for i, at in reads], dtype=np.int64),
        num_sequence_tokens=sum(len(ids) for ids in needed),
        longest=max(len(ids) for ids in needed),
        owners=tuple(firsts[node.owner] for node in nodes),
        taken=tuple(runs[-1] if runs else 0 for runs in ends),
    )


def tokens_taken(
    ends: Sequence[int], first_read: int, min_tokens: int = DEFAULT_MIN_SHARED_TOKENS
) -> int:
    """How many leading tokens of a sequence are taken from a cache.

    Args:
        ends: where the cache's runs of it end, ascending.
        first_read: the first position that is read: what is read is computed.
        min_tokens: fewer are not worth an attention call.
    """
    taken = min(ends[-1], first_read) if ends else 0
    return taken if taken >= min_tokens else 0


def _usable(
    cached: Sequence[Sequence[int]],
    reads: Sequence[Sequence[int]],
    needed: Sequence[NDArray[np.int64]],
    min_shared: int,
) -> list[tuple[int, ...]]:
    """Of each sequence, where the runs end that are taken from the cache: none holds a read.

    Equal sequences are one row, so the first read of any of them counts for all.
    """
    keys = [ids.tobytes() for ids in needed]
    first_reads: dict[bytes, int] = {}
    for key, own in zip(keys, reads, strict=True):
        first_reads[key] = min(first_reads.get(key, own[0]), *own)
    usable = []
    for key, ends in zip(keys, cached, strict=True):
        limit = tokens_taken(ends, first_reads[key], min_shared)
        usable.append((*(end for end in ends if end < limit), limit) if limit else ())
    return usable


def _sort_unique(
    sequences: Sequence[NDArray[np.int64]], ends: Sequence[tuple[int, ...]]
) -> tuple[list[int], list[int], list[NDArray[np.uint32]]]:
    """Sort so that common prefixes stand together, equal sequences once.

    Returns:
        For each input its index among the unique ones; of each unique one in order, the index of
        an input; and its symbols, by which sequences are compared: see `_COMPUTED`.
    """
    symbols = [ids.astype(np.uint32) for ids in sequences]
    for own, runs in zip(symbols, ends, strict=True):
        own[runs[-1] if runs else 0 :] |= _COMPUTED
    # Big-endian bytes compare as the symbols do, at C speed.
    keys = [own.astype(">u4").tobytes() for own in symbols]
    ranks = {key: rank for rank, key in enumerate(sorted(set(keys)))}
    firsts = [0] * len(ranks)
    for index, key in enumerate(keys):
        firsts[ranks[key]] = index
    return [ranks[key] for key in keys], firsts, [symbols[index] for index in firsts]


def common_prefix_length(first: NDArray[Any], second: NDArray[Any]) -> int:
    """Number of leading tokens that two sequences share."""
    length = min(len(first), len(second))
    differs = first[:length] != second[:length]
    at = int(differs.argmax()) if length else 0
    return at if length and differs[at] else length


def _radix_tree(
    unique: Sequence[NDArray[np.uint32]], ends: Sequence[tuple[int, ...]], min_shared: int
) -> list[_Node]:
    """Nodes in depth-first order; `low:high` are the unique sequences that pass through a node."""
    lcp = np.array(
        [common_prefix_length(a, b) for a, b in pairwise(unique)],
        dtype=np.int64,
    )
    nodes: list[_Node] = []
    # Each task: sequences [low, high) share their first `depth` tokens, which are laid out already.
    tasks: list[tuple[int, int, int, int | None]] = [(0, len(unique), 0, None)]
    while tasks:
        low, high, depth, parent = tasks.pop()
        runs = ends[low]
        if high - low == 1:
            if depth < len(unique[low]):
                _append_runs(nodes, _Node(low, depth, len(unique[low]), parent, low, high), runs)
            continue
        shared = int(lcp[low : high - 1].min())
        # What the cache holds is shared as a whole; a few tokens behind it are not worth a segment.
        cut = bool(runs) and depth < runs[-1] < shared < runs[-1] + min_shared
        end = runs[-1] if cut else shared
        if end - depth >= min_shared:
            _append_runs(nodes, _Node(low, depth, end, parent, low, high), runs)
            parent, depth = len(nodes) - 1, end
            if cut:
                tasks.append((low, high, depth, parent))
                continue
        # Sequences split where their neighbours share no more than `shared`.
        borders = [low, *(low + 1 + np.flatnonzero(lcp[low : high - 1] <= shared)), high]
        tasks.extend(
            (int(begin), int(end), depth, parent)
            for begin, end in reversed(list(pairwise(borders)))
        )
    return nodes


def _append_runs(nodes: list[_Node], whole: _Node, ends: tuple[int, ...]) -> None:
    """Append a node, cut where the cache's runs end that its sequences begin with."""
    cuts = [end for end in ends if whole.begin < end < whole.end]
    last_kept = ends[-1] if ends else 0
    for begin, end in pairwise((whole.begin, *cuts, whole.end)):
        parent = whole.parent if begin == whole.begin else len(nodes) - 1
        nodes.append(replace(whole, begin=begin, end=end, parent=parent, kept=end <= last_kept))


def _lay_out(nodes: list[_Node], lengths: Sequence[int]) -> tuple[tuple[Segment, ...], list[int]]:
    """Row ranges of depth-first nodes, and the segment in which each unique sequence ends."""
    starts = np.cumsum([0, *(0 if node.kept else node.end - node.begin for node in nodes)])
    subtree_end = [int(end) for end in starts[1:]]
    for index in range(len(nodes) - 1, -1, -1):
        parent = nodes[index].parent
        if parent is not None:
            subtree_end[parent] = max(subtree_end[parent], subtree_end[index])
    segments = tuple(
        Segment(
            int(starts[i]),
            int(starts[i + 1]),
            subtree_end[i],
            node.begin,
            node.parent,
            node.end - node.begin if node.kept else 0,
        )
        for i, node in enumerate(nodes)
    )
    leaves = [0] * len(lengths)
    for position, node in enumerate(nodes):
        for index in range(node.low, node.high):
            if lengths[index] == node.end:
                leaves[index] = position
    return segments, leaves


def _row(segments: Sequence[Segment], leaf: int, position: int) -> int:
    """The row of a token, by the segment in which its sequence ends and its position there."""
    segment = segments[leaf]
    while segment.position > position and segment.parent is not None:
        segment = segments[segment.parent]
    return segment.start + position - segment.position
