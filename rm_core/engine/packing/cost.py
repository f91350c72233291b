"""The cost of a pack: its tokens after sharing, as the selection of packs asks for them.

The radix tree itself would tell exactly, but the policy asks again and again while a pack grows.
So prefixes are compared block by block: each block of `BLOCK` tokens is known by a hash of
everything up to its end, and a block that is in the pack already costs nothing. That never says
less than the tree's count, because the tree shares whatever whole blocks share.

A token whose keys and values are cached is not computed, but others attend to it: it costs an
eighth of one that is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rm_core.engine.packing.plan import DEFAULT_MIN_SHARED_TOKENS
from rm_core.engine.packing.policy import TokenSum
from rm_core.types import EncodedItem

BLOCK = 2 * DEFAULT_MIN_SHARED_TOKENS


CACHED_PER_COMPUTED = 8
"""So many cached tokens cost what one computed token does."""

CachedTokens = Callable[[EncodedItem], int]
"""How many leading tokens of an item's longest encoding are cached; see `Scorer.cached_tokens`."""


class PackTokens(NamedTuple):
    """Tokens of a pack after sharing, by where their keys and values come from."""

    computed: int
    cached: int = 0

    @property
    def cost(self) -> int:
        """What the budget counts."""
        return self.computed - (-self.cached // CACHED_PER_COMPUTED)


def saved_tokens(cached: int) -> float:
    """How many computed tokens' cost is saved where so many are cached."""
    return cached * (1 - 1 / CACHED_PER_COMPUTED)


def nothing_cached(item: EncodedItem) -> int:
    """The `CachedTokens` of an engine that keeps nothing."""
    del item
    return 0


def prefix_hashes(ids: Sequence[int], scope: bytes = b"") -> list[int]:
    """One hash for each whole block of `BLOCK` tokens, of all tokens up to its end.

    Args:
        ids: of a text.
        scope: texts of different ones share no hash.
    """
    hashes: list[int] = []
    before = hash(scope) if scope else 0
    for start in range(0, len(ids) - BLOCK + 1, BLOCK):
        before = hash((before, tuple(ids[start : start + BLOCK])))
        hashes.append(before)
    return hashes


@dataclass(frozen=True, slots=True)
class _Blocks:
    """An item's blocks by their hashes, and how many of the first are cached."""

    hashes: list[int]
    num_cached: int


class SharedPrefixCost:
    """The cost of a growing pack in deduplicated tokens; `rm_core.engine.packing.policy.Pack`.

    Args:
        cached_tokens: asked once for each item.
    """

    def __init__(self, cached_tokens: CachedTokens = nothing_cached) -> None:
        self._cached_tokens = cached_tokens
        self._seen: set[int] = set()
        # Items are asked about several times before they are added; `id` is safe as they live on.
        self._blocks: dict[int, _Blocks] = {}

    def cost(self, items: Sequence[EncodedItem]) -> int:
        """What the pack's cost would grow by with `items`, without adding them."""
        return self.tokens(items).cost

    def tokens(self, items: Sequence[EncodedItem]) -> PackTokens:
        """Tokens that the pack would grow by with `items`, without adding them."""
        new: set[int] = set()
        cached: set[int] = set()
        rest = 0
        for item in items:
            blocks = self._blocks_of(item)
            new.update(blocks.hashes)
            cached.update(blocks.hashes[: blocks.num_cached])
            rest += item.num_tokens - BLOCK * len(blocks.hashes)
        new -= self._seen
        cached &= new
        return PackTokens(BLOCK * len(new - cached) + rest, BLOCK * len(cached))

    def add(self, item: EncodedItem) -> None:
        """Put `item` into the pack."""
        self._seen.update(self._blocks_of(item).hashes)

    def _blocks_of(self, item: EncodedItem) -> _Blocks:
        blocks = self._blocks.get(id(item))
        if blocks is None:
            longest = max(item.by_model.values(), key=lambda encoded: encoded.num_tokens)
            blocks = self._blocks[id(item)] = _Blocks(
                prefix_hashes(longest.input_ids, item.cache_scope),
                self._cached_tokens(item) // BLOCK,
            )
        return blocks


class PlainCost(TokenSum):
    """The cost of a pack that shares nothing, and finds nothing cached."""

    def tokens(self, items: Sequence[EncodedItem]) -> PackTokens:
        """Tokens of `items`."""
        return PackTokens(self.cost(items))


def new_cost(
    *, shares_prefixes: bool, cached_tokens: CachedTokens = nothing_cached
) -> SharedPrefixCost | PlainCost:
    """The empty pack of a scorer that shares prefixes, or of one that doesn't."""
    return SharedPrefixCost(cached_tokens) if shares_prefixes else PlainCost()
