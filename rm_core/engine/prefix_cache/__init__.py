"""Keys and values of texts' beginnings, kept from pack to pack.

`radix` is the policy (what is held, what goes first), `store` the memory, `cache` both under a lock
as a pack uses them.
"""

from rm_core.engine.prefix_cache.cache import Lookup, PrefixCache, Reading
from rm_core.engine.prefix_cache.store import Layout

__all__ = ["Layout", "Lookup", "PrefixCache", "Reading"]
