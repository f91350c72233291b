from loadtest.bench.memory import MemoryRun, Sample, resident_bytes
from rm_core.types import CacheStats

MIB = 2**20


def sample(texts, *, rss, prefixes=100, rewards=10, evictions=1):
    return Sample(
        texts,
        rss * MIB,
        CacheStats(num_bytes=prefixes, max_bytes=100, evictions=evictions),
        CacheStats(num_bytes=rewards, max_bytes=10, evictions=1),
    )


def run(*samples):
    return MemoryRun(5 * MIB, list(samples))


def test_memory_may_grow_until_the_caches_are_full_and_no_further():
    filling = sample(1, rss=100, prefixes=50, evictions=0)

    assert run(filling, sample(2, rss=300), sample(3, rss=305)).wrong() == []
    (why,) = run(filling, sample(2, rss=300), sample(3, rss=306)).wrong()
    assert "rose by 6.0 MiB after the caches were full; 5.0 are allowed" in why


def test_a_cache_beyond_its_bound_is_told():
    (why,) = run(sample(1, rss=9), sample(2, rss=9, rewards=11)).wrong()

    assert "rewards held 11 of 10 bytes" in why
    assert f"**{why}**" in run(sample(1, rss=9), sample(2, rss=9, rewards=11)).table()


def test_caches_that_never_filled_have_not_been_tested():
    assert "more --prompts" in run(sample(1, rss=9, prefixes=94, evictions=0)).wrong()[0]


def test_the_process_s_own_memory_is_read():
    assert 10 * MIB < resident_bytes() < 100_000 * MIB
