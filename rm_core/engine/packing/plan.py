"""The plan of a pack: sequences laid end to end in one row, shared prefixes once.

A radix tree over token ids: a node is a run of tokens (a *segment*), a child continues it. The tree
is laid out in depth-first order, so that everything below a segment follows it without a gap: the
rows [end, subtree_end). Attention needs nothing else: each segment attends to itself causally, and
the rows below it attend to it fully. Pure policy: no torch here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

DEFAULT_MIN_SHARED_TOKENS = 8
"""A common prefix shorter than this saves less than its own attention call costs."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of tokens in the row.

    Attributes:
        start: first row index.
        end: one past the last row index.
        subtree_end: one past the last row index of everything that continues this segment.
        position: position id of the first token.
        parent: index of the segment that this one continues; None at a root.
    """

    start: int
    end: int
    subtree_end: int
    position: int
    parent: int | None


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
        longest: length of the longest sequence in tokens.
    """

    input_ids: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    segments: tuple[Segment, ...]
    read_rows: NDArray[np.int64]
    num_sequence_tokens: int
    longest: int

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
    """A run of tokens while the tree is built: sequence `owner`'s tokens [begin, end)."""

    owner: int
    begin: int
    end: int
    parent: int | None
    low: int
    high: int


def plan_pack(
    sequences: Sequence[Sequence[int]],
    read_positions: Sequence[int],
    *,
    extra_positions: Sequence[Sequence[int]] | None = None,
    share: bool = True,
    min_shared_tokens: int = DEFAULT_MIN_SHARED_TOKENS,
) -> Pack:
    """Lay sequences out in one row, each distinct prefix once.

    Args:
        sequences: token ids, none empty.
        read_positions: index into each sequence that its head reads.
        extra_positions: further such indices of each sequence; None for none. Tokens after the last
            read can't influence a causal model's states there and are left out of the row.
        share: whether common prefixes and equal sequences are computed once; off, each sequence
            is a segment of its own.
        min_shared_tokens: shorter common runs are not worth a segment of their own.

    Returns:
        The pack.
    """
    lasts = read_positions
    if extra_positions is not None:
        lasts = [max((read, *also)) for read, also in zip(lasts, extra_positions, strict=True)]
    kept = [
        np.asarray(ids[: last + 1], dtype=np.int64)
        for ids, last in zip(sequences, lasts, strict=True)
    ]
    if share:
        order, unique = _sort_unique(kept)
        nodes = _radix_tree(unique, max(1, min_shared_tokens))
    else:
        order, unique = list(range(len(kept))), kept
        nodes = [_Node(i, 0, len(ids), None, i, i + 1) for i, ids in enumerate(kept)]
    segments, leaves = _lay_out(nodes, unique)
    reads = list(zip(order, read_positions, strict=True))
    if extra_positions is not None:
        reads += [(i, at) for i, also in zip(order, extra_positions, strict=True) for at in also]
    rows = [unique[node.owner][node.begin : node.end] for node in nodes]
    positions = [np.arange(node.begin, node.end, dtype=np.int64) for node in nodes]
    return Pack(
        input_ids=np.concatenate(rows),
        position_ids=np.concatenate(positions),
        segments=segments,
        read_rows=np.array([_row(segments, leaves[i], at) for i, at in reads], dtype=np.int64),
        num_sequence_tokens=sum(len(ids) for ids in kept),
        longest=max(len(ids) for ids in kept),
    )


def _sort_unique(
    sequences: list[NDArray[np.int64]],
) -> tuple[list[int], list[NDArray[np.int64]]]:
    """Sort so that common prefixes stand together, equal sequences once.

    Returns:
        For each input its index among the unique ones, and the unique ones in order.
    """
    # Big-endian bytes compare as the ids do, at C speed.
    keys = [ids.astype(">u4").tobytes() for ids in sequences]
    ranks = {key: rank for rank, key in enumerate(sorted(set(keys)))}
    unique: list[NDArray[np.int64]] = [sequences[0]] * len(ranks)
    for key, ids in zip(keys, sequences, strict=True):
        unique[ranks[key]] = ids
    return [ranks[key] for key in keys], unique


def common_prefix_length(first: NDArray[np.int64], second: NDArray[np.int64]) -> int:
    """Number of leading tokens that two sequences share."""
    length = min(len(first), len(second))
    differs = first[:length] != second[:length]
    at = int(differs.argmax()) if length else 0
    return at if length and differs[at] else length


def _radix_tree(unique: list[NDArray[np.int64]], min_shared: int) -> list[_Node]:
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
        if high - low == 1:
            if depth < len(unique[low]):
                nodes.append(_Node(low, depth, len(unique[low]), parent, low, high))
            continue
        shared = int(lcp[low : high - 1].min())
        if shared - depth >= min_shared:
            nodes.append(_Node(low, depth, shared, parent, low, high))
            parent, depth = len(nodes) - 1, shared
        # Sequences split where their neighbours share no more than `shared`.
        borders = [low, *(low + 1 + np.flatnonzero(lcp[low : high - 1] <= shared)), high]
        tasks.extend(
            (int(begin), int(end), depth, parent)
            for begin, end in reversed(list(pairwise(borders)))
        )
    return nodes


def _lay_out(
    nodes: list[_Node], unique: list[NDArray[np.int64]]
) -> tuple[tuple[Segment, ...], list[int]]:
    """Row ranges of depth-first nodes, and the segment in which each unique sequence ends."""
    starts = np.cumsum([0, *(node.end - node.begin for node in nodes)])
    subtree_end = [int(end) for end in starts[1:]]
    for index in range(len(nodes) - 1, -1, -1):
        parent = nodes[index].parent
        if parent is not None:
            subtree_end[parent] = max(subtree_end[parent], subtree_end[index])
    segments = tuple(
        Segment(int(starts[i]), int(starts[i + 1]), subtree_end[i], node.begin, node.parent)
        for i, node in enumerate(nodes)
    )
    leaves = [0] * len(unique)
    for position, node in enumerate(nodes):
        for index in range(node.low, node.high):
            if len(unique[index]) == node.end:
                leaves[index] = position
    return segments, leaves


def _row(segments: Sequence[Segment], leaf: int, position: int) -> int:
    """The row of a token, by the segment in which its sequence ends and its position there."""
    segment = segments[leaf]
    while segment.position > position and segment.parent is not None:
        segment = segments[segment.parent]
    return segment.start + position - segment.position
