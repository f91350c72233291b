"""Whether memory stays within its bounds: the process, given far more than its caches hold.

A small random model, so that what is remembered of a text outweighs what it costs to score it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from loadtest.models import SIZES
from loadtest.report import markdown_table
from loadtest.settings import MemorySettings
from rm_core.engine import EngineOptions, load_engine
from rm_core.types import CacheStats, Encoded, EncodedItem

MODEL = "toy"
"""Its keys and values take half a kilobyte a token."""
PACK_ITEMS = 256
MIN_TOKENS, MAX_TOKENS = 8, 32
SAMPLES = 20
"""Rows of the table."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The process after so many texts.

    Attributes:
        texts: that were scored.
        rss_bytes: resident memory of the process.
        prefixes: of the cache of texts' beginnings.
        rewards: of the cache of rewards.
    """

    texts: int
    rss_bytes: int
    prefixes: CacheStats
    rewards: CacheStats

    @property
    def caches_are_full(self) -> bool:
        """Whether both caches have begun to make room for what comes, and so grow no more."""
        return self.prefixes.evictions > 0 and self.rewards.evictions > 0


@dataclass(slots=True)
class MemoryRun:
    """What came of it.

    Attributes:
        samples: from the first pack to the last.
        slack_bytes: how far resident memory may rise once the caches are full.
    """

    slack_bytes: int
    samples: list[Sample] = field(default_factory=list)

    def wrong(self) -> list[str]:
        """What grew beyond its bound, or was not put to the test."""
        found = []
        for name in ("prefixes", "rewards"):
            caches = [getattr(sample, name) for sample in self.samples]
            most = max(cache.num_bytes for cache in caches)
            if most > caches[0].max_bytes:
                found.append(f"the cache of {name} held {most} of {caches[0].max_bytes} bytes")
        full = [sample for sample in self.samples if sample.caches_are_full]
        if not full:
            return [*found, "the caches did not fill: send more --prompts, or lower their bounds"]
        risen = max(sample.rss_bytes for sample in full) - full[0].rss_bytes
        if risen > self.slack_bytes:
            found.append(
                f"resident memory rose by {_mib(risen)} MiB after the caches were full; "
                f"{_mib(self.slack_bytes)} are allowed"
            )
        return found

    def table(self) -> str:
        """Some of the samples, and what is wrong."""
        step = max(1, len(self.samples) // SAMPLES)
        rows = [
            [
                str(sample.texts),
                _mib(sample.rss_bytes),
                f"{_mib(sample.prefixes.num_bytes)} of {_mib(sample.prefixes.max_bytes)}",
                str(sample.prefixes.evictions),
                f"{_mib(sample.rewards.num_bytes)} of {_mib(sample.rewards.max_bytes)}",
                str(sample.rewards.evictions),
            ]
            for sample in (*self.samples[::step], self.samples[-1])
        ]
        header = [
            *("texts", "resident MiB", "beginnings, MiB", "evicted"),
            *("rewards, MiB", "evicted"),
        ]
        return "\n\n".join([markdown_table(header, rows), *(f"**{why}**" for why in self.wrong())])

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "wrong": self.wrong(),
            "samples": [
                {
                    "texts": sample.texts,
                    "rss_bytes": sample.rss_bytes,
                    "prefix_cache_bytes": sample.prefixes.num_bytes,
                    "reward_cache_bytes": sample.rewards.num_bytes,
                }
                for sample in self.samples
            ],
        }


def measure_memory(checkpoint: Path, settings: MemorySettings) -> MemoryRun:
    """Score random texts until the caches have long been full, and watch the process.

    Args:
        checkpoint: of a small model.
        settings: how many texts, and the caches' bounds.
    """
    options = EngineOptions(
        dtype="float32",
        prefix_cache_bytes=settings.prefix_cache_bytes,
        reward_cache_bytes=settings.reward_cache_bytes,
    )
    engine = load_engine({"safety": str(checkpoint)}, options, device="cpu")
    found = MemoryRun(settings.slack_mib * 2**20)
    scored = 0
    for pack in _packs(settings):
        engine.forward(pack)
        scored += len(pack)
        stats = engine.cache_stats()
        found.samples.append(Sample(scored, resident_bytes(), stats.prefixes, stats.rewards))
    return found


def _packs(settings: MemorySettings) -> Iterator[list[EncodedItem]]:
    """Random ids: no text begins as another but by chance."""
    rng = Random(settings.seed)
    left = settings.prompts
    while left:
        count = min(left, PACK_ITEMS)
        left -= count
        yield [_random_item(rng) for _ in range(count)]


def _random_item(rng: Random) -> EncodedItem:
    length = rng.randint(MIN_TOKENS, MAX_TOKENS)
    ids = tuple(rng.randrange(3, SIZES[MODEL].vocabulary) for _ in range(length))
    return EncodedItem({"safety": Encoded(ids, length - 1)})


def resident_bytes() -> int:
    """Memory of this process that is in use now, shared libraries included."""
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _mib(count: int) -> str:
    return f"{count / 2**20:.1f}"
