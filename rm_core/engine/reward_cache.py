"""Rewards kept by content: a text that was scored before costs a look-up instead of a forward.

A reward is found by what decides it: the ids and their segments, the model, and where its head
reads. All else that might change its bits (weights, precision, the way that a trunk is run) is
fixed for as long as the engine lives that owns the cache. The number found is the one computed
first, bit for bit.
"""

import hashlib
import math
import sys
import threading
from array import array
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from rm_core.types import CacheStats, Encoded, EncodedItem, ItemRewards, ModelName

_BYTES_PER_TEXT = 416
"""Of an entry beside its rewards: its key, its place in the order of use, the object; measured."""
_BYTES_PER_REWARD = 64
"""Of a reward beside its place in the entry's table: its own number and that of its read."""


@dataclass(slots=True)
class _Entry:
    """Rewards of one text, by what `RewardCache._reads` calls their reads."""

    num_tokens: int
    rewards: dict[int, float] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        table = sys.getsizeof(self.rewards)
        return _BYTES_PER_TEXT + table + _BYTES_PER_REWARD * len(self.rewards)


class RewardCache:
    """Raw rewards of texts, within a bound of bytes; the least recently used text goes first.

    Every read of a text is kept by itself: a text that was read at its steps is found when it is
    asked for at its end alone. Thread-safe.

    Args:
        max_bytes: the bound; 0 keeps nothing.
        averaging: the models whose reward is the mean over the response, which is kept as such.
    """

    def __init__(self, max_bytes: int, averaging: Collection[ModelName] = ()) -> None:
        self._max_bytes = max_bytes
        self._averaging = frozenset(averaging)
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._num_bytes = self._tokens = 0
        self._found = self._found_tokens = 0
        self._computed = self._computed_tokens = 0
        self._evictions = 0

    def content_digest(self, by_model: Mapping[ModelName, Encoded]) -> bytes:
        """Equal for texts whose rewards at equal reads are equal; b"" where nothing is kept."""
        if not self._max_bytes:
            return b""
        digest = hashlib.sha256()
        hashed: dict[int, int] = {}
        for index, (name, text) in enumerate(by_model.items()):
            same = hashed.setdefault(id(text), index)
            response = (text.num_prompt_tokens, text.read_position)
            told = response if name in self._averaging else ()
            lengths = (len(text.input_ids), len(text.token_types)) if same == index else ()
            digest.update(repr((name, same, lengths, told)).encode())
            if same == index:
                digest.update(array("q", text.input_ids).tobytes())
                digest.update(array("q", text.token_types).tobytes())
        return digest.digest()

    def find(self, item: EncodedItem) -> ItemRewards | None:
        """The item's rewards, if every one of them is kept."""
        if not self._max_bytes:
            return None
        key = self._key(item)
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            try:
                found = {
                    name: tuple(entry.rewards[read] for read in reads)
                    for name, reads in self._reads(item).items()
                }
            except KeyError:
                return None
            self._entries.move_to_end(key)
            self._found += 1
            self._found_tokens += item.num_tokens
            return found

    def keep(self, item: EncodedItem, rewards: ItemRewards) -> None:
        """Keep what was computed, but not of an item with a reward that is no finite number.

        What is kept already stays as it is, so that its bits do.
        """
        if not self._max_bytes:
            return
        finite = all(math.isfinite(reward) for own in rewards.values() for reward in own)
        key = self._key(item)
        with self._lock:
            self._computed += 1
            self._computed_tokens += item.num_tokens
            if not finite:
                return
            entry = self._entries.pop(key, None)
            if entry is None:
                entry = _Entry(item.num_tokens)
            else:
                self._subtract(entry)
            for name, reads in self._reads(item).items():
                for read, reward in zip(reads, rewards[name], strict=True):
                    entry.rewards.setdefault(read, reward)
            if entry.num_bytes <= self._max_bytes:
                self._entries[key] = entry
                self._num_bytes += entry.num_bytes
                self._tokens += entry.num_tokens
            self._make_room()

    def stats(self) -> CacheStats:
        """Sizes and counts; a lookup is a text that was found, or computed as it was not."""
        with self._lock:
            return CacheStats(
                num_bytes=self._num_bytes,
                max_bytes=self._max_bytes,
                entries=len(self._entries),
                tokens=self._tokens,
                lookups=self._found + self._computed,
                hits=self._found,
                lookup_tokens=self._found_tokens + self._computed_tokens,
                hit_tokens=self._found_tokens,
                evictions=self._evictions,
            )

    def _key(self, item: EncodedItem) -> bytes:
        content = item.content_digest or self.content_digest(item.by_model)
        return item.cache_scope + content

    def _reads(self, item: EncodedItem) -> dict[ModelName, list[int]]:
        """One number for each read of each model, in the order of its rewards.

        A position and a model make a number of at least 0; a model's mean has a negative one.
        """
        count = len(item.by_model)
        return {
            name: [
                -1 - index if name in self._averaging else count * text.read_position + index,
                *(count * at.position + index for at in text.extra_positions),
            ]
            for index, (name, text) in enumerate(item.by_model.items())
        }

    def _make_room(self) -> None:
        while self._num_bytes > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self._subtract(oldest)
            self._evictions += 1

    def _subtract(self, entry: _Entry) -> None:
        self._num_bytes -= entry.num_bytes
        self._tokens -= entry.num_tokens
