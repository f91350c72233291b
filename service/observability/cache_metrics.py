"""What the engine's caches hold and have given, read from them at each scrape."""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rm_core.types import EngineCacheStats

_GAUGES = (
    ("rm_cache_bytes", "What a cache holds.", "num_bytes"),
    ("rm_cache_capacity_bytes", "Its bound; 0 where nothing is kept.", "max_bytes"),
    (
        "rm_cache_entries",
        "Runs of tokens whose keys and values are kept; texts whose rewards are kept.",
        "entries",
    ),
    ("rm_cache_tokens", "Their tokens.", "tokens"),
)
_COUNTERS = (
    ("rm_cache_lookups", "Texts that were looked up.", "lookups"),
    ("rm_cache_hits", "Those of which something was found.", "hits"),
    ("rm_cache_lookup_tokens", "Tokens of texts that were looked up.", "lookup_tokens"),
    ("rm_cache_hit_tokens", "Those that need not be computed.", "hit_tokens"),
    ("rm_cache_evictions", "Entries that made room for others.", "evictions"),
)


class CacheCollector(Collector):
    """The series of both caches, by the label `cache`: "prefixes" or "rewards".

    Args:
        stats: the scorer's `cache_stats`.
    """

    def __init__(self, stats: Callable[[], EngineCacheStats]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """All series, as Prometheus asks for them."""
        stats = self._stats()
        caches = {"prefixes": stats.prefixes, "rewards": stats.rewards}
        families: list[tuple[CounterMetricFamily | GaugeMetricFamily, str]] = [
            *((GaugeMetricFamily(name, text, labels=("cache",)), of) for name, text, of in _GAUGES),
            *(
                (CounterMetricFamily(name, text, labels=("cache",)), of)
                for name, text, of in _COUNTERS
            ),
        ]
        for family, of in families:
            for cache, own in caches.items():
                family.add_metric([cache], getattr(own, of))
            yield family
