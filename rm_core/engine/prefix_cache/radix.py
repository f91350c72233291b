"""What a prefix cache holds, as policy: a radix tree over token ids, bounded by its owner.

A node is a run of tokens; a child continues it, and children differ in their first token. What a
node stands for in memory is a value that the tree only carries and has split. Pure policy: no torch
here, and no lock; see `cache`.

Leaves are evicted first, those longest unused before others. Time is counted in bytes that came in,
so that an entry's age says how much of the bound has been asked for since. Parents and children
refer to each other: whatever leaves the tree is unlinked both ways, so that it is freed at once.
"""

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, NamedTuple, TypeVar

import numpy as np

TOKEN_BYTES = 4
"""Of a token's id in a key."""

_FEW = 64

Run = TypeVar("Run")


def token_key(ids: Sequence[int]) -> bytes:
    """Token ids as the tree compares them: four bytes each."""
    return np.asarray(ids, dtype=np.uint32).tobytes()


@dataclass(slots=True, eq=False)
class Node(Generic[Run]):
    """A run of tokens.

    Attributes:
        key: its tokens; see `token_key`.
        run: what it stands for; None at a root and in a node that has left the tree.
        parent: what it continues; None at a root and in a node that has left the tree.
        children: what continues it, by the first token.
        last_used: when a pack needed it last, by the tree's clock.
        pack: the number of the last pack that needs it; it stays while that pack runs.
        waits: whether it stands in line for eviction.
    """

    key: bytes
    run: Run | None
    parent: "Node[Run] | None"
    children: dict[bytes, "Node[Run]"] = field(default_factory=dict)
    last_used: float = -math.inf
    pack: int = -1
    waits: bool = False

    @property
    def num_tokens(self) -> int:
        """Tokens of the run."""
        return len(self.key) // TOKEN_BYTES


class Step(NamedTuple, Generic[Run]):
    """A node on a text's path, or its beginning.

    Attributes:
        node: the node.
        begin: the text's tokens before it.
        end: the text's tokens up to where the two go on together.
    """

    node: Node[Run]
    begin: int
    end: int


class RadixTree(Generic[Run]):
    """Runs of tokens, shared beginnings once, in trees that never meet.

    Args:
        token_bytes: what a token takes, whatever keeps it.
        split: cuts a run into its first tokens, so many, and the rest.
    """

    def __init__(self, token_bytes: int, split: Callable[[Run, int], tuple[Run, Run]]) -> None:
        self.num_tokens = 0
        self.num_nodes = 0
        self.evictions = 0
        self.clock = 0
        self.pack = 0
        self._token_bytes = token_bytes
        self._split = split
        self._roots: dict[bytes, Node[Run]] = {}
        self._line: list[tuple[float, int, Node[Run]]] = []
        self._order = count()

    @property
    def num_bytes(self) -> int:
        """Of all runs."""
        return self.num_tokens * self._token_bytes

    def match(self, scope: bytes, key: bytes) -> list[Step[Run]]:
        """The path of the longest beginning of a text that the tree holds.

        Args:
            scope: which of the trees.
            key: the text's tokens.
        """
        path: list[Step[Run]] = []
        node, at = self._roots.get(scope), 0
        while node is not None:
            child = node.children.get(key[at : at + TOKEN_BYTES])
            if child is None:
                break
            whole = key.startswith(child.key, at)
            end = at + (len(child.key) if whole else _common(child.key, key[at:]))
            path.append(Step(child, at // TOKEN_BYTES, end // TOKEN_BYTES))
            node, at = child if whole else None, end
        return path

    def add(self, scope: bytes, key: bytes, make: Callable[[int], Run]) -> Node[Run] | None:
        """Put in what the tree does not hold of a text.

        Args:
            scope: which of the trees.
            key: the text's tokens.
            make: gives the run from the token of that number to the text's end.

        Returns:
            The new node, which the present pack needs; None where the tree held the whole text.
        """
        path = self.match(scope, key)
        at = path[-1].end if path else 0
        if at * TOKEN_BYTES == len(key):
            return None
        if path:
            above = self._cut(path[-1])
        else:
            above = self._roots.setdefault(scope, Node(b"", None, None))
        node = Node(key[at * TOKEN_BYTES :], make(at), above, pack=self.pack)
        above.children[node.key[:TOKEN_BYTES]] = node
        self.num_tokens += node.num_tokens
        self.num_nodes += 1
        self._let_wait(node)
        return node

    def use(self, node: Node[Run], *, age: int = 0) -> None:
        """Mark a node as needed by the present pack.

        Args:
            node: of this tree.
            age: bytes by which it is taken to have been used earlier.
        """
        node.last_used = self.clock - age
        node.pack = self.pack

    def remove(self, node: Node[Run]) -> None:
        """Take a leaf out."""
        above = node.parent
        if above is None or node.children:
            return
        del above.children[node.key[:TOKEN_BYTES]]
        node.parent = node.run = None
        self.num_tokens -= node.num_tokens
        self.num_nodes -= 1
        if above.parent is not None:
            self._let_wait(above)
        elif not above.children:
            self._roots = {scope: root for scope, root in self._roots.items() if root is not above}

    def evict(self, max_bytes: int) -> None:
        """Take leaves out, longest unused first, until no more than so many bytes are held.

        What the present pack needs stays.
        """
        needed = []
        while self.num_bytes > max_bytes and self._line:
            last_used, _, node = heapq.heappop(self._line)
            node.waits = False
            if node.parent is None or node.children:
                continue
            if node.pack == self.pack:
                needed.append(node)
            elif node.last_used != last_used:
                self._let_wait(node)
            else:
                self.remove(node)
                self.evictions += 1
        for node in needed:
            self._let_wait(node)

    def join(self, node: Node[Run], run: Run) -> None:
        """Make a node and the one that it alone continues one: the upper, which stays."""
        above = node.parent
        if above is None or above.parent is None or len(above.children) != 1:
            return
        above.key, above.run, above.children = above.key + node.key, run, node.children
        for child in above.children.values():
            child.parent = above
        node.parent = node.run = None
        node.children = {}
        self.num_nodes -= 1
        self._let_wait(above)

    def clear(self) -> None:
        """Take everything out."""
        left = list(self._roots.values())
        while left:
            node = left.pop()
            left += node.children.values()
            node.parent = node.run = None
            node.children = {}
        self._roots, self._line = {}, []
        self.num_tokens = self.num_nodes = 0

    def _cut(self, step: Step[Run]) -> Node[Run]:
        """The node that ends where a path does; a new one above the rest where it ended within."""
        node, length = step.node, step.end - step.begin
        if length == node.num_tokens:
            return node
        above = node.parent
        if above is None or node.run is None:
            raise RuntimeError("a node outside of the tree was matched; this is a bug")
        first, rest = self._split(node.run, length)
        at = length * TOKEN_BYTES
        upper = Node(node.key[:at], first, above, last_used=node.last_used, pack=node.pack)
        above.children[upper.key[:TOKEN_BYTES]] = upper
        node.key, node.run, node.parent = node.key[at:], rest, upper
        upper.children[node.key[:TOKEN_BYTES]] = node
        self.num_nodes += 1
        return upper

    def _let_wait(self, node: Node[Run]) -> None:
        if node.waits or node.children:
            return
        node.waits = True
        heapq.heappush(self._line, (node.last_used, next(self._order), node))
        if len(self._line) > 2 * self.num_nodes + _FEW:  # most have left the tree since
            self._line = [place for place in self._line if place[2].parent is not None]
            heapq.heapify(self._line)


def _common(first: bytes, second: bytes) -> int:
    """Bytes of the tokens that two keys begin with alike."""
    size = min(len(first), len(second)) // TOKEN_BYTES
    one, other = (np.frombuffer(key, dtype=np.uint32, count=size) for key in (first, second))
    differs = one != other
    at = int(differs.argmax()) if size else 0
    return TOKEN_BYTES * (at if size and differs[at] else size)
