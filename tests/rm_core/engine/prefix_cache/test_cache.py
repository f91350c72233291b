"""What a pack computes goes in when it has succeeded, whole, and is what the next one reads."""

import random

import pytest
import torch
from torch import Tensor

from rm_core.engine.attention.kept import KeptRun
from rm_core.engine.packing.plan import Pack, plan_pack
from rm_core.engine.prefix_cache import Layout, Lookup, PrefixCache, Reading

LAYERS = 2
LAYOUT = Layout(((1, 2),) * LAYERS, ((1, 2),) * LAYERS, torch.float32, torch.device("cpu"))
TOKEN_BYTES = LAYOUT.token_bytes + 4


def packed(texts: list[list[int]], looked_up: Lookup) -> Pack:
    return plan_pack(texts, [len(text) - 1 for text in texts], cached=looked_up.ends)


def layer_rows(pack: Pack, layer: int) -> Tensor:
    """A layer's keys: each token's id, position and layer, (1, 1, tokens, 2)."""
    ids, positions = torch.from_numpy(pack.input_ids), torch.from_numpy(pack.position_ids)
    return torch.stack([ids + 1000.0 * layer, positions.float()], dim=-1)[None, None]


def hand_over(reading: Reading, layer: int) -> None:
    rows = layer_rows(reading.pack, layer)
    reading.capture(layer, rows, -rows)


def as_planned(_: Lookup) -> Pack:
    pytest.fail("planned again")


def run(cache: PrefixCache, texts: list[list[int]], *, layers: int = LAYERS) -> Pack:
    """As a forward does; what is read is checked token by token."""
    looked_up = cache.look_up(texts, [b""] * len(texts))
    pack = packed(texts, looked_up)
    with cache.reading(looked_up, pack, lambda now: packed(texts, now)) as reading:
        for segment, owner, kept in zip(
            reading.pack.segments, reading.pack.owners, reading.kept, strict=True
        ):
            if kept is not None:
                check(kept, texts[owner], segment.position, segment.kept)
        for layer in range(layers):
            hand_over(reading, layer)
        return reading.pack


def check(kept: KeptRun, text: list[int], position: int, tokens: int) -> None:
    for layer, (key, value) in enumerate(zip(kept.keys, kept.values, strict=True)):
        places = range(position, position + tokens)
        assert key[:, 0].tolist() == [[text[at] + 1000.0 * layer, at] for at in places]
        assert torch.equal(value, -key)


def test_the_next_pack_reads_what_the_last_has_computed_token_by_token() -> None:
    rng = random.Random(0)
    cache = PrefixCache(LAYOUT, 400 * TOKEN_BYTES)
    known = [[rng.randrange(3) for _ in range(40)]]

    for _ in range(200):
        texts = [
            [*rng.choice(known)[: rng.randrange(60)], *(rng.randrange(3) for _ in range(9))]
            for _ in range(rng.randint(1, 4))
        ]
        known += texts
        run(cache, texts)
        assert cache.stats().num_bytes <= 400 * TOKEN_BYTES

    stats = cache.stats()
    assert stats.evictions > 0
    assert 0 < stats.hit_tokens < stats.lookup_tokens
    assert 0 < stats.hits <= stats.lookups


def test_a_conversation_of_many_turns_stays_a_short_path() -> None:
    cache = PrefixCache(LAYOUT, 2**20)
    talk: list[int] = []

    for turn in range(60):
        talk += [turn + 1] * 10
        run(cache, [talk])

    assert cache.stats().tokens == len(talk)
    assert len(cache.look_up([talk], [b""]).ends[0]) <= 6


@pytest.mark.parametrize("layers", [0, 1])
def test_what_not_every_layer_has_handed_over_is_not_kept(layers: int) -> None:
    cache = PrefixCache(LAYOUT, 2**20)

    run(cache, [[1] * 20], layers=layers)

    assert cache.stats().num_bytes == 0
    assert cache.cached_tokens([1] * 20, [19], b"") == 0


def test_a_lookup_from_before_is_renewed_and_the_pack_planned_anew() -> None:
    cache = PrefixCache(LAYOUT, 2**20)
    text = [1] * 30
    before = cache.look_up([text], [b""])
    run(cache, [[1] * 20])
    planned: list[Lookup] = []

    def plan(now: Lookup) -> Pack:
        planned.append(now)
        return packed([text], now)

    with cache.reading(before, packed([text], before), plan) as reading:
        assert reading.pack.taken == (20,)
        for layer in range(LAYERS):
            reading.capture(
                layer, layer_rows(reading.pack, layer), -layer_rows(reading.pack, layer)
            )

    assert len(planned) == 1
    again = cache.look_up([text], [b""])
    with cache.reading(again, packed([text], again), plan):
        assert len(planned) == 1, "nothing has changed since"


def test_a_plan_made_while_the_last_pack_ran_reads_what_that_pack_has_computed() -> None:
    cache = PrefixCache(LAYOUT, 2**20)
    first, second = [1] * 20, [[*[1] * 20, 2, 2]]
    looked_up = cache.look_up([first], [b""])
    with cache.reading(looked_up, packed([first], looked_up), as_planned) as reading:
        ahead = cache.look_up(second, [b""])
        pack = packed(second, ahead)
        for layer in range(LAYERS):
            reading.capture(
                layer, layer_rows(reading.pack, layer), -layer_rows(reading.pack, layer)
            )

    assert pack.taken == (20,)
    with cache.reading(ahead, pack, as_planned) as reading:
        assert reading.kept[0] is not None
        check(reading.kept[0], first, 0, 20)


def test_where_no_memory_is_to_be_had_the_pack_runs_and_keeps_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left(*_: object) -> KeptRun:
        raise RuntimeError("not enough memory")

    cache = PrefixCache(LAYOUT, 2**20)
    monkeypatch.setattr(Layout, "empty", none_left)

    run(cache, [[1] * 20, [1] * 9 + [2] * 9])

    assert cache.stats().num_bytes == 0


def test_where_no_memory_is_to_be_had_for_cutting_a_run_nothing_half_made_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = PrefixCache(LAYOUT, 2**20)
    run(cache, [[8] * 20 + [2] * 20])

    def none_left(*_: object) -> KeptRun:
        raise RuntimeError("can't allocate memory")

    with monkeypatch.context() as patched:
        patched.setattr(Layout, "empty", none_left)
        run(cache, [[5] * 30, [8] * 5 + [3] * 20])  # the second is to cut what is held

    assert cache.stats().num_bytes == 0
    # What was to be kept of the first stood at another row than the same tokens do now.
    run(cache, [[0] * 12, [5] * 5 + [4] * 10])
    run(cache, [[5] * 5 + [4] * 10 + [6] * 3])


def test_room_is_made_for_one_run_at_a_time_so_that_it_takes_the_place_of_what_has_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokens, runs = 10, 8
    cache = PrefixCache(LAYOUT, runs * tokens * TOKEN_BYTES)
    for text in range(2 * runs):
        run(cache, [[text + 1] * tokens])
    gone: list[int] = []
    allocate = Layout.empty

    def empty(layout: Layout, tokens: int) -> KeptRun:
        gone.append(cache._tree.evictions - runs)
        return allocate(layout, tokens)

    monkeypatch.setattr(Layout, "empty", empty)

    run(cache, [[100 + text] * tokens for text in range(runs // 2)])

    assert gone == [1, 2, 3, 4]
    assert cache.stats().num_bytes == runs * tokens * TOKEN_BYTES
