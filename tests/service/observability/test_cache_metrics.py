"""The caches' series: what the scorer tells, read at each scrape."""

from dataclasses import asdict, fields

from prometheus_client import CollectorRegistry

from rm_core.types import CacheStats, EngineCacheStats
from service.observability.cache_metrics import CacheCollector
from tests.service.conftest import Start

SERIES = {
    "num_bytes": "rm_cache_bytes",
    "max_bytes": "rm_cache_capacity_bytes",
    "entries": "rm_cache_entries",
    "tokens": "rm_cache_tokens",
    "lookups": "rm_cache_lookups_total",
    "hits": "rm_cache_hits_total",
    "lookup_tokens": "rm_cache_lookup_tokens_total",
    "hit_tokens": "rm_cache_hit_tokens_total",
    "evictions": "rm_cache_evictions_total",
}


def test_each_number_of_both_caches_has_its_series_at_each_scrape() -> None:
    assert set(SERIES) == {of.name for of in fields(CacheStats)}
    told = EngineCacheStats()
    registry = CollectorRegistry()
    registry.register(CacheCollector(lambda: told))

    for start in (0, 100):
        prefixes = CacheStats(*range(start, start + 9))
        rewards = CacheStats(*range(start + 50, start + 59))
        told = EngineCacheStats(prefixes, rewards)
        for cache, stats in asdict(told).items():
            for name, number in stats.items():
                assert registry.get_sample_value(SERIES[name], {"cache": cache}) == number


async def test_the_app_shows_its_own_scorer_s(start: Start) -> None:
    async with start() as service:
        service.scorer.stats = EngineCacheStats(rewards=CacheStats(hits=7))

        assert await service.metric("rm_cache_hits_total", cache="rewards") == 7
        told = (await service.client.get("/metrics")).text
        assert 'rm_cache_hits_total{cache="rewards"} 7.0' in told
