"""What the engine's caches hold and what they have given so far, for metrics and /v1/info."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True)
class CacheStats:
    """One cache's size now, and its counts since loading, which never fall.

    Attributes:
        num_bytes: what it holds.
        max_bytes: the bound on that; 0 where nothing is kept.
        entries: runs of tokens whose keys and values are kept; texts whose rewards are kept.
        tokens: of the entries.
        lookups: texts that were looked up.
        hits: those of which something was found.
        lookup_tokens: of the texts that were looked up.
        hit_tokens: of those that need not be computed.
        evictions: entries that made room for others.
    """

    num_bytes: int = 0
    max_bytes: int = 0
    entries: int = 0
    tokens: int = 0
    lookups: int = 0
    hits: int = 0
    lookup_tokens: int = 0
    hit_tokens: int = 0
    evictions: int = 0


def total(caches: Iterable[CacheStats]) -> CacheStats:
    """The sizes and counts of several caches together."""
    each = [astuple(stats) for stats in caches]
    return CacheStats(*map(sum, zip(*each, strict=True))) if each else CacheStats()


@dataclass(frozen=True, slots=True)
class EngineCacheStats:
    """Both of the engine's caches.

    Attributes:
        prefixes: keys and values of texts' beginnings.
        rewards: raw rewards of whole texts.
    """

    prefixes: CacheStats = CacheStats()
    rewards: CacheStats = CacheStats()
