"""The cost of a pack: its tokens after sharing, as the selection of packs asks for them.

The radix tree itself would tell exactly, but the policy asks again and again while a pack grows.
So prefixes are compared block by block: each block of `BLOCK` tokens is known by a hash of
everything up to its end, and a block that is in the pack already costs nothing. That never says
less than the tree's count, because the tree shares whatever whole blocks share.
"""

from collections.abc import Sequence

from rm_core.engine.packing.plan import DEFAULT_MIN_SHARED_TOKENS
from rm_core.engine.packing.policy import TokenSum
from rm_core.types import EncodedItem

BLOCK = 2 * DEFAULT_MIN_SHARED_TOKENS


def prefix_hashes(ids: Sequence[int]) -> list[int]:
    """One hash for each whole block of `BLOCK` tokens, of all tokens up to its end."""
    hashes: list[int] = []
    before = 0
    for start in range(0, len(ids) - BLOCK + 1, BLOCK):
        before = hash((before, tuple(ids[start : start + BLOCK])))
        hashes.append(before)
    return hashes


class SharedPrefixCost:
    """The cost of a growing pack in deduplicated tokens; `rm_core.engine.packing.policy.Pack`."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        # Items are asked about several times before they are added; `id` is safe as they live on.
        self._hashes: dict[int, list[int]] = {}

    def cost(self, items: Sequence[EncodedItem]) -> int:
        """Tokens that the pack would grow by with `items`, without adding them."""
        new: set[int] = set()
        rest = 0
        for item in items:
            hashes = self._hashes_of(item)
            new.update(hashes)
            rest += item.num_tokens - BLOCK * len(hashes)
        return BLOCK * len(new - self._seen) + rest

    def add(self, item: EncodedItem) -> None:
        """Put `item` into the pack."""
        self._seen.update(self._hashes_of(item))

    def _hashes_of(self, item: EncodedItem) -> list[int]:
        hashes = self._hashes.get(id(item))
        if hashes is None:
            longest = max(item.by_model.values(), key=lambda encoded: encoded.num_tokens)
            hashes = self._hashes[id(item)] = prefix_hashes(longest.input_ids)
        return hashes


def new_cost(*, shares_prefixes: bool) -> SharedPrefixCost | TokenSum:
    """The empty pack of a scorer that shares prefixes, or of one that doesn't."""
    return SharedPrefixCost() if shares_prefixes else TokenSum()
