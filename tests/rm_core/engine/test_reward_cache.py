"""Rewards kept by content: what is found, what never is, and how much is held."""

import gc
import random
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rm_core.checkpoint.manifest import HeadKind, RewardModelManifest, write_manifest
from rm_core.engine import EngineOptions, load_engine
from rm_core.engine.reward_cache import RewardCache
from rm_core.text.contract import default_contract
from rm_core.types import Dialogue, Encoded, EncodedItem, ItemRewards, ReadAt, ReadPosition
from tests.models import make_tokenizer, save_checkpoint

MIB = 2**20
BOTH = ("safety", "helpfulness")


def text(*ids: int, reads: tuple[int, ...] = (), prompt: int | None = None) -> Encoded:
    """Read at its last token, and at `reads`."""
    extra = tuple(ReadPosition(at, 0, 0, "") for at in reads)
    return Encoded(ids, len(ids) - 1, prompt, (), extra)


def item(encoded: Encoded, scope: bytes = b"") -> EncodedItem:
    return EncodedItem(dict.fromkeys(BOTH, encoded), scope)


def rewards(*safety: float) -> ItemRewards:
    return {"safety": safety, "helpfulness": tuple(-reward for reward in safety)}


def test_what_was_computed_first_is_found_again_and_stays():
    cache = RewardCache(MIB)
    cache.keep(item(text(1, 2, 3)), rewards(0.1))
    cache.keep(item(text(1, 2, 3)), rewards(0.1000001))

    assert cache.find(item(text(1, 2, 3))) == rewards(0.1)


@pytest.mark.parametrize(
    "other",
    [
        item(text(1, 2, 4)),
        item(text(1, 2)),
        item(text(3, 2, 1)),
        item(replace(text(1, 2, 3), read_position=1)),
        item(replace(text(1, 2, 3), token_types=(0, 0, 1))),
        item(replace(text(1, 2, 3), token_types=(0, 1, 1))),
        item(text(1, 2, 3, reads=(1,))),
        item(text(1, 2, 3), scope=b"another"),
        EncodedItem({"safety": text(1, 2, 3), "helpfulness": text(1, 2, 4)}),
        EncodedItem({"helpfulness": text(1, 2, 3), "safety": text(1, 2, 3)}),
        EncodedItem({"safety": text(1, 2, 3)}),
        EncodedItem({"safety": text(1, 2, 3), "third": text(1, 2, 3)}),
    ],
)
def test_nothing_else_is_found(other: EncodedItem):
    cache = RewardCache(MIB)
    cache.keep(item(text(1, 2, 3)), rewards(0.1))

    assert cache.find(other) is None
    assert cache.find(item(text(1, 2, 3), scope=b"")) == rewards(0.1)


def test_ids_and_segments_are_not_taken_for_one_another():
    cache = RewardCache(MIB)
    cache.keep(item(Encoded((1, 2), 0, token_types=(3,))), rewards(0.1))

    assert cache.find(item(Encoded((1,), 0, token_types=(2, 3)))) is None
    assert cache.find(item(Encoded((1, 2), 0, token_types=(4,)))) is None


def test_each_read_of_a_text_is_kept_by_itself():
    cache = RewardCache(MIB)
    cache.keep(item(text(1, 2, 3, 4, reads=(1, 2))), rewards(0.4, 0.2, 0.3))

    assert cache.find(item(text(1, 2, 3, 4))) == rewards(0.4)
    assert cache.find(item(text(1, 2, 3, 4, reads=(2, 1, 1)))) == rewards(0.4, 0.3, 0.2, 0.2)
    assert cache.find(item(text(1, 2, 3, 4, reads=(0, 1)))) is None

    cache.keep(item(text(1, 2, 3, 4, reads=(0,))), rewards(0.4, 0.1))
    assert cache.find(item(text(1, 2, 3, 4, reads=(0, 1)))) == rewards(0.4, 0.1, 0.2)


def test_a_mean_is_found_for_the_same_response_alone():
    cache = RewardCache(MIB, averaging=["safety"])
    cache.keep(item(text(1, 2, 3, prompt=1)), rewards(0.1))

    assert cache.find(item(text(1, 2, 3, prompt=1))) == rewards(0.1)
    assert cache.find(item(text(1, 2, 3, prompt=2))) is None
    # The mean is no reward at the text's end, nor the other way round.
    other = RewardCache(MIB)
    other.keep(item(text(1, 2, 3, prompt=1)), rewards(0.1))
    assert other.find(item(text(1, 2, 3, prompt=2))) == rewards(0.1)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_never_kept(broken: float):
    cache = RewardCache(MIB)
    cache.keep(item(text(1, 2, 3, reads=(1,))), rewards(0.1, broken))

    assert cache.find(item(text(1, 2, 3))) is None
    assert cache.stats().entries == 0


def test_the_least_recently_used_goes_first():
    one = RewardCache(MIB)
    one.keep(item(text(0)), rewards(0.0))
    cache = RewardCache(3 * one.stats().num_bytes)
    for number in range(3):
        cache.keep(item(text(number)), rewards(float(number)))
    cache.find(item(text(0)))
    cache.keep(item(text(3)), rewards(3.0))

    kept = [number for number in range(4) if cache.find(item(text(number))) is not None]
    assert kept == [0, 2, 3]
    assert cache.stats().evictions == 1


def test_a_text_larger_than_the_bound_puts_none_of_the_others_out():
    cache = RewardCache(2000)
    cache.keep(item(text(1)), rewards(0.1))
    many = tuple(range(100))
    cache.keep(item(text(*many, reads=many)), rewards(*map(float, range(101))))

    assert cache.find(item(text(1))) == rewards(0.1)
    assert cache.find(item(text(*many))) is None


def test_nothing_is_kept_where_there_is_no_room_for_anything():
    cache = RewardCache(0)
    cache.keep(item(text(1)), rewards(0.1))

    assert cache.find(item(text(1))) is None
    assert cache.content_digest(item(text(1)).by_model) == b""
    assert (cache.stats().max_bytes, cache.stats().lookups) == (0, 0)


@pytest.mark.parametrize("reads", [0, 30])
def test_the_bound_is_never_passed_by_what_is_really_held(reads: int):
    rng = random.Random(0)
    cache = RewardCache(MIB // 2)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(4000 if reads == 0 else 400):
            ids = tuple(rng.randrange(1000) for _ in range(reads + 4))
            own = [rng.random() for _ in range(reads + 1)]
            cache.keep(item(text(*ids, reads=tuple(range(reads)))), rewards(*own))
            assert cache.stats().num_bytes <= MIB // 2
        gc.collect()  # Python's own lists of freed tuples
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert cache.stats().evictions > 0
    assert cache.stats().num_bytes / 3 < held <= cache.stats().num_bytes


def test_what_is_found_and_what_is_not_is_counted_in_texts_and_in_tokens():
    cache = RewardCache(MIB)
    cache.keep(item(text(1, 2, 3)), rewards(0.1))
    cache.keep(item(text(1, 2)), rewards(float("nan")))
    cache.find(item(text(1, 2, 3)))
    cache.find(item(text(1, 2)))

    stats = cache.stats()
    assert (stats.lookups, stats.hits) == (3, 1)
    assert (stats.lookup_tokens, stats.hit_tokens) == (8, 3)
    assert (stats.entries, stats.tokens) == (1, 3)


def test_many_threads_find_what_one_keeps():
    cache = RewardCache(20_000)
    items = [item(text(number, 1, 2)) for number in range(100)]
    wrong: list[Any] = []

    def look() -> None:
        rng = random.Random(threading.get_ident())
        for _ in range(1000):
            number = rng.randrange(100)
            if cache.find(items[number]) not in (None, rewards(float(number))):
                wrong.append(number)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        for number, one in enumerate(items):
            cache.keep(one, rewards(float(number)))
    for thread in threads:
        thread.join()

    assert wrong == []
    assert cache.stats().num_bytes <= 20_000


def engine_of(directory: Path, head: HeadKind, **options: Any) -> Any:
    tokenizer = make_tokenizer()
    save_checkpoint(directory, tokenizer=tokenizer)
    contract = default_contract(tokenizer, max_length=512)
    write_manifest(directory, RewardModelManifest("helpfulness", contract, head))
    return load_engine({"helpfulness": str(directory)}, EngineOptions(**options))


@pytest.mark.parametrize("head", ["last_token", "mean"])
@pytest.mark.parametrize("read_at", ["end", "tokens"])
def test_an_engine_finds_for_each_kind_of_head_what_its_forward_gave(
    head: HeadKind, read_at: ReadAt, tmp_path: Path
):
    engine = engine_of(tmp_path, head)
    texts = ["an answer", "another", "an answer"]
    items = [engine.encode(Dialogue("a prompt. ", one, read_at=read_at)) for one in texts]
    assert [engine.cached_rewards(one) for one in items] == [None] * 3

    computed = engine.forward(items)

    again = [engine.encode(Dialogue("a prompt. ", one, read_at=read_at)) for one in texts]
    assert [engine.cached_rewards(one) for one in again] == computed
    assert engine.cached_rewards(replace(again[0], cache_scope=b"another caller")) is None
    assert engine.cache_stats().rewards.hits == 3
    if head == "mean":  # the same text, another border
        assert engine.cached_rewards(engine.encode(Dialogue("a prompt. an", " answer"))) is None


def test_a_forward_computes_what_is_kept_all_the_same(tmp_path: Path):
    engine = engine_of(tmp_path, "last_token")
    one = engine.encode(Dialogue("p", "r"))
    engine.forward([one])
    engine.forward([one])

    assert (engine.cache_stats().rewards.hits, engine.cache_stats().rewards.lookups) == (0, 2)


def test_an_engine_keeps_nothing_where_it_is_told_so(tmp_path: Path):
    engine = engine_of(tmp_path, "last_token", reward_cache_bytes=0)
    one = engine.encode(Dialogue("p", "r"))
    engine.forward([one])

    assert engine.cached_rewards(one) is None
