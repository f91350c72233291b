"""The prefix cache of one trunk: keys and values of texts' beginnings, kept from pack to pack.

A pack asks what is held of its texts, reads it while it runs, and what it computes itself goes in
when it has succeeded. Texts of different scopes never meet: each scope has a tree of its own. One
pack runs at a time; planning ahead, and asking how much is held, may go on beside it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Lock

import torch
from torch import Tensor

from rm_core.engine.attention.kept import KeptRun
from rm_core.engine.packing.plan import Pack, Segment, tokens_taken
from rm_core.engine.prefix_cache.radix import TOKEN_BYTES, Node, RadixTree, Step, token_key
from rm_core.engine.prefix_cache.store import Layout, part
from rm_core.errors import InvariantViolation
from rm_core.types import CacheStats

_PACK_SHARE = 2
"""A pack's own runs take at most the bound divided by this: the next needs what stood there."""

_AGE_OF_TAILS = 2
"""What one text alone has computed counts as unused while the bound divided by this came in."""

_JOINED_TOKENS = 2
"""A run grows by the one that alone continues it while it has at most so many times its tokens: a
conversation of n turns stays a path of about log(n) runs, and each token is copied as often."""


@dataclass(frozen=True, slots=True)
class Coming:
    """A run that the present pack computes: it is in the tree, and its tensors are not yet.

    Attributes:
        row: of its first token.
    """

    row: int


Held = KeptRun | Coming
Path = Sequence[Step[Held]]


@dataclass(frozen=True, slots=True)
class Lookup:
    """What the cache held of some texts at a time.

    Attributes:
        keys: of the texts, see `token_key`.
        scopes: of the texts.
        paths: through the cache's trees.
        version: of the trees, which tells whether they may have changed since.
    """

    keys: Sequence[bytes]
    scopes: Sequence[bytes]
    paths: Sequence[Path]
    version: int

    @property
    def ends(self) -> list[list[int]]:
        """Of each text, where the held runs of its beginning end; as `plan_pack` takes them."""
        return [[step.end for step in path] for path in self.paths]


@dataclass(frozen=True, slots=True)
class _New:
    """A node that a pack computes, its memory, and the rows that go there."""

    node: Node[Held]
    run: KeptRun
    rows: slice


class Reading:
    """What a running pack has of the cache.

    Attributes:
        pack: as it is planned by what the cache holds now.
        kept: what the pack reads, by segment; None for segments in the row.
        new: what the pack computes that goes in.
    """

    def __init__(
        self, pack: Pack, kept: Sequence[KeptRun | None], new: Sequence[_New], layers: int
    ) -> None:
        self.pack = pack
        self.kept = kept
        self.new = new
        self._missing = set(range(layers))
        self._finite: list[Tensor] = []

    @property
    def is_whole(self) -> bool:
        """Whether every layer has handed over what it computed, and all of it is finite."""
        return not self._missing and all(math.isfinite(total) for total in self._finite)

    def capture(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Copy what is to be kept; see `rm_core.engine.attention.kept.Capture`."""
        keys, values = key[0].transpose(0, 1), value[0].transpose(0, 1)
        for new in self.new:
            new.run.keys[layer].copy_(keys[new.rows])
            new.run.values[layer].copy_(values[new.rows])
        if self.new:
            # Kernels multiply what they mask by 0, so that a text's NaN spoils the tokens before it
            # in its segment too, which other texts begin with. Values tell: NaN passes into them.
            # So does their sum, at a twentieth of what asking each would cost; a sum that overflows
            # keeps a sound pack out, which costs nobody a reward.
            self._finite.append(value[:, :, : self.pack.num_tokens].sum(dtype=torch.float32))
        self._missing.discard(layer)


class PrefixCache:
    """Keys and values of texts' beginnings, within a bound of bytes.

    Args:
        layout: what the trunk's layers keep of a token.
        max_bytes: of all keys and values and their token ids.
    """

    def __init__(self, layout: Layout, max_bytes: int) -> None:
        self._layout = layout
        self._max_bytes = max_bytes
        self._token_bytes = layout.token_bytes + TOKEN_BYTES
        self._tree: RadixTree[Held] = RadixTree(self._token_bytes, self._split)
        self._version = 0
        self._counts = CacheStats()
        self._lock = Lock()
        self._running = Lock()

    def look_up(self, texts: Sequence[Sequence[int]], scopes: Sequence[bytes]) -> Lookup:
        """What is held of texts; from any thread.

        Args:
            texts: their token ids.
            scopes: of each text, whose it is.
        """
        return self._looked_up(list(map(token_key, texts)), scopes)

    def cached_tokens(self, text: Sequence[int], reads: Sequence[int], scope: bytes) -> int:
        """How many leading tokens of a text a pack would take from here; from any thread.

        Args:
            text: its token ids.
            reads: positions that are read.
            scope: whose it is.
        """
        return tokens_taken(self.look_up([text], [scope]).ends[0], min(reads))

    def stats(self) -> CacheStats:
        """Its size and counts; from any thread."""
        with self._lock:
            return replace(
                self._counts,
                num_bytes=self._tree.num_bytes,
                max_bytes=self._max_bytes,
                entries=self._tree.num_nodes,
                tokens=self._tree.num_tokens,
                evictions=self._tree.evictions,
            )

    @contextmanager
    def reading(
        self, looked_up: Lookup, pack: Pack, plan: Callable[[Lookup], Pack]
    ) -> Iterator[Reading]:
        """What a pack reads, held while it runs; what it computes goes in if nothing is raised.

        Args:
            looked_up: of the pack's sequences.
            pack: planned by it.
            plan: plans the pack anew by another lookup, as the cache may have changed since.
        """
        with self._running:
            now = self._renewed(looked_up)
            reading = self._begun(pack if now is looked_up else plan(now), now)
            kept = False
            try:
                yield reading
                kept = reading.is_whole
            finally:
                self._ended(reading, kept=kept)

    def clear(self) -> None:
        """Forget everything, once no pack is running: for weights that have changed."""
        with self._running, self._lock:
            self._tree.clear()
            self._version += 1

    def give_way(self) -> bool:
        """Forget everything and take half of the room from now on, as memory ran out.

        Returns:
            False where nothing was held, so that nothing is won.
        """
        held = self._tree.num_nodes > 0
        self.clear()
        with self._lock:
            self._max_bytes //= 2
        return held

    def _looked_up(self, keys: Sequence[bytes], scopes: Sequence[bytes]) -> Lookup:
        with self._lock:
            match = self._tree.match
            paths = [match(scope, key) for scope, key in zip(scopes, keys, strict=True)]
            return Lookup(keys, scopes, paths, self._version)

    def _renewed(self, before: Lookup) -> Lookup:
        """The lookup made now: the very same where a pack planned by it is still right."""
        if before.version == self._version:
            return before
        now = self._looked_up(before.keys, before.scopes)
        return before if now.paths == before.paths else now

    def _begun(self, pack: Pack, looked_up: Lookup) -> Reading:
        with self._lock:
            self._version += 1
            self._tree.pack += 1
            self._count(pack)
            kept = [
                self._run_of(looked_up.paths[owner], segment) if segment.kept else None
                for segment, owner in zip(pack.segments, pack.owners, strict=True)
            ]
            return Reading(pack, kept, self._new(pack, looked_up), len(self._layout.keys))

    def _new(self, pack: Pack, looked_up: Lookup) -> Sequence[_New]:
        """What a pack computes that goes in; nothing where there is no memory for it."""
        try:
            return self._allocated(self._within_share(self._added(pack, looked_up)))
        except (MemoryError, RuntimeError):
            # While a run was cut: nodes of this pack stand in the tree without their tensors, and a
            # later pack would take them for its own. This one holds what it reads and runs on.
            self._tree.clear()
            return ()

    def _run_of(self, path: Path, segment: Segment) -> KeptRun:
        """A segment's tensors; its node is marked as used."""
        for node, begin, end in path:
            if begin <= segment.position < end and isinstance(node.run, KeptRun):
                self._tree.use(node)
                first = segment.position - begin
                return part(node.run, first, first + segment.kept)
        raise InvariantViolation("a pack reads what the cache does not hold; this is a bug")

    def _added(self, pack: Pack, looked_up: Lookup) -> list[Node[Held]]:
        """The nodes of what a pack computes and the tree did not hold, shared ones first."""
        found: dict[int, Node[Held]] = {}
        for segment, owner in zip(pack.segments, pack.owners, strict=True):
            position, scope = segment.position, looked_up.scopes[owner]
            end = position + segment.end - segment.start
            key = looked_up.keys[owner][: TOKEN_BYTES * end]
            path = self._tree.match(scope, key)
            if segment.kept or (path[-1].end if path else 0) < position:
                continue  # what stands before was computed for another scope, which keeps it
            node = self._tree.add(scope, key, _rows_behind(segment))
            # Some of the nodes above it may have come of cutting a new one.
            while node is not None and isinstance(node.run, Coming) and id(node) not in found:
                found[id(node)] = node
                node = node.parent
        tails_age = self._max_bytes // _AGE_OF_TAILS
        for node in found.values():
            self._tree.use(node, age=0 if node.children else tails_age)
        # A parent before its children: only leaves can leave the tree.
        return sorted(found.values(), key=lambda node: (not node.children, _depth(node)))

    def _within_share(self, nodes: Sequence[Node[Held]]) -> list[Node[Held]]:
        """Those of the new nodes that one pack may put in, the first ones."""
        left = self._max_bytes // _PACK_SHARE
        stay = []
        for node in nodes:
            left -= node.num_tokens * self._token_bytes
            if left < 0:
                break
            stay.append(node)
        self._leave_out(nodes[len(stay) :])
        self._tree.clock += sum(node.num_tokens for node in stay) * self._token_bytes
        return stay

    def _allocated(self, nodes: Sequence[Node[Held]]) -> list[_New]:
        """The new nodes' memory; none where there is none to be had: the pack runs all the same.

        Room is made for one node at a time, which takes the place of what has just gone: freed at
        once, tens of megabytes go back to the system, and every page that returns is faulted in.
        """
        tree, new = self._tree, list[_New]()
        most = self._max_bytes + sum(node.num_tokens for node in nodes) * self._token_bytes
        try:
            for node in nodes:
                most -= node.num_tokens * self._token_bytes  # the nodes behind it take nothing yet
                tree.evict(most)
                if tree.num_bytes > most:  # the rest is what this pack reads
                    self._leave_out(nodes[len(new) :])
                    break
                if isinstance(node.run, Coming):
                    rows = slice(node.run.row, node.run.row + node.num_tokens)
                    new.append(_New(node, self._layout.empty(node.num_tokens), rows))
        except (MemoryError, RuntimeError):
            self._leave_out(nodes)
            return []
        return new

    def _leave_out(self, nodes: Sequence[Node[Held]]) -> None:
        """Take new nodes out again, children before their parents."""
        for node in reversed(nodes):
            self._tree.remove(node)

    def _ended(self, reading: Reading, *, kept: bool) -> None:
        with self._lock:
            for new in reversed(reading.new):
                if kept:
                    new.node.run = new.run
                else:
                    self._tree.remove(new.node)
            if not kept:
                self._version += 1
                return
            for new in reading.new:
                self._joined(new.node)

    def _joined(self, node: Node[Held]) -> None:
        """Make a node one with those above that it alone continues; see `_JOINED_TOKENS`."""
        above = node.parent
        while (
            above is not None
            and above.parent is not None
            and len(above.children) == 1
            and above.num_tokens <= _JOINED_TOKENS * node.num_tokens
            and isinstance(above.run, KeptRun)
            and isinstance(node.run, KeptRun)
        ):
            try:
                joined = self._layout.joined([above.run, node.run])
            except (MemoryError, RuntimeError):
                return  # two runs read as well as one
            self._tree.join(node, joined)
            self._version += 1
            node, above = above, above.parent

    def _split(self, run: Held, tokens: int) -> tuple[Held, Held]:
        if isinstance(run, Coming):
            return run, Coming(run.row + tokens)
        return self._layout.split(run, tokens)

    def _count(self, pack: Pack) -> None:
        counts = self._counts
        self._counts = replace(
            counts,
            lookups=counts.lookups + len(pack.taken),
            hits=counts.hits + sum(tokens > 0 for tokens in pack.taken),
            lookup_tokens=counts.lookup_tokens + pack.num_sequence_tokens,
            hit_tokens=counts.hit_tokens + sum(pack.taken),
        )


def _rows_behind(segment: Segment) -> Callable[[int], Coming]:
    """What gives the rows from a token of a segment on, by the token's number in its text."""
    return lambda at: Coming(segment.start + at - segment.position)


def _depth(node: Node[Held]) -> int:
    depth = 0
    while node.parent is not None:
        node, depth = node.parent, depth + 1
    return depth
