"""What a deterministic forward keeps moves no bit of a text: cold, warm, growing, evicted."""

import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from rm_core.checkpoint.load import load_reward_model
from rm_core.engine.attention.kept import KeptRun, LayerRun
from rm_core.engine.forward.choose import choose_forward
from rm_core.engine.forward.packed import PackedForward
from rm_core.engine.native import NativeLibrary
from rm_core.engine.options import EngineOptions, Products
from rm_core.engine.trunk.products.onednn import has_onednn
from rm_core.types import AttentionChoice, Encoded, ReadPosition
from tests.models import save_checkpoint
from tests.rm_core.engine.native.compiled import needs_compiler

needs_onednn = pytest.mark.skipif(not has_onednn(), reason="this torch has no oneDNN")
SHARING = {
    "llama": {"num_key_value_heads": 1},
    "qwen3": {},
    "mistral": {"sliding_window": 130},
}
Rewards = list[list[float]]


def keeping(
    folder: Path,
    architecture: str,
    *,
    max_bytes: int = 2**30,
    products: Products = "mkl",
    attention: AttentionChoice = "auto",
) -> PackedForward:
    """A forward as an engine loads it."""
    checkpoint = save_checkpoint(folder, architecture, **SHARING.get(architecture, {}))
    options = EngineOptions(
        deterministic=True,
        prefix_cache_bytes=max_bytes,
        products=products,
        attention=attention,
    )
    forward = choose_forward(load_reward_model(str(checkpoint), "safety"), options=options)
    assert isinstance(forward, PackedForward)
    return forward


class Fresh:
    """A text's rewards alone, by a forward that keeps nothing, with its own copy of the weights."""

    def __init__(
        self, folder: Path, products: Products = "mkl", attention: AttentionChoice = "auto"
    ) -> None:
        loaded = load_reward_model(str(folder), "safety")
        options = EngineOptions(
            deterministic=True, products=products, attention=attention, prefix_cache_bytes=0
        )
        self._forward = choose_forward(loaded, options=options)

    def __call__(self, texts: list[Encoded]) -> Rewards:
        return [row for text in texts for row in self._forward.rewards([text])]


def draw(rng: random.Random, count: int) -> list[int]:
    return [rng.randrange(4, 250) for _ in range(count)]


def text_of(ids: list[int], *places: int) -> Encoded:
    extra = tuple(ReadPosition(at, 0, 0, "") for at in places)
    return Encoded(tuple(ids), len(ids) - 1, extra_positions=extra)


def packs(seed: int) -> Iterator[list[Encoded]]:
    """Growing conversations, each other's beginnings, random branches, strangers between them."""
    rng = random.Random(seed)
    talks = [[*draw(rng, length)] for length in (9, 130, 250)]
    known: list[list[int]] = []
    for _ in range(4):
        talks = [[*talk, *draw(rng, rng.randint(1, 90))] for talk in talks]
        yield [text_of(talk) for talk in talks]
        known += talks
        branches = []
        for _ in range(rng.randint(1, 6)):
            trunk = rng.choice(known)
            ids = [*trunk[: rng.randint(1, len(trunk))], *draw(rng, rng.randint(1, 40))]
            branches.append(text_of(ids, *rng.sample(range(len(ids)), rng.randint(0, 1))))
        yield [*branches, text_of(draw(rng, 33))]
    yield [text_of(ids) for ids in rng.choices(known, k=9)]


@pytest.mark.parametrize(
    ("architecture", "products", "attention"),
    [
        *((each, "mkl", "torch") for each in SHARING),
        *(pytest.param(each, "mkl", "native", marks=needs_compiler) for each in SHARING),
        pytest.param("llama", "onednn", "torch", marks=needs_onednn),
    ],
)
def test_bits_are_those_alone_cold_warm_growing_and_branching(
    architecture: str, products: Products, attention: AttentionChoice, tmp_path: Path
) -> None:
    forward = keeping(tmp_path, architecture, products=products, attention=attention)
    fresh = Fresh(tmp_path, products, attention)
    assert forward.attention.startswith(attention)
    # Where oneDNN's products round by a row's place, torch's own are taken.
    assert forward.products.told() in {products, "mkl"}
    assert forward.prefix_cache is not None, forward.prefix_cache_reason
    assert forward.prefix_cache_reason == "keys and values give the same bits cold and warm"

    for texts in packs(1):
        expected = fresh(texts)
        assert forward.rewards(texts) == expected
        assert forward.rewards(texts) == expected

    stats = forward.prefix_cache.stats()
    assert stats.hit_tokens > stats.lookup_tokens / 2


def test_bits_are_those_alone_after_eviction(tmp_path: Path) -> None:
    forward, fresh = keeping(tmp_path, "llama", max_bytes=150_000), Fresh(tmp_path)
    assert forward.prefix_cache is not None

    for seed in (2, 3):
        for texts in packs(seed):
            assert forward.rewards(texts) == fresh(texts)

    stats = forward.prefix_cache.stats()
    assert stats.evictions > 0 < stats.hit_tokens


def test_the_ordinary_way_does_differ_behind_what_it_keeps(tmp_path: Path) -> None:
    """The negative control: merged parts round by where a cached run ends."""
    checkpoint = save_checkpoint(tmp_path, "llama")
    options = EngineOptions(prefix_cache_bytes=2**30, attention="torch")
    forward = choose_forward(load_reward_model(str(checkpoint), "safety"), options=options)

    moved = [forward.rewards(texts) != forward.rewards(texts) for texts in packs(1)]

    assert any(moved)


def test_one_bit_of_what_is_kept_is_found_out_at_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = KeptRun.of_layer

    def next_number(self: KeptRun, layer: int) -> LayerRun:
        key, value = own(self, layer)
        return LayerRun(key, torch.nextafter(value, torch.tensor(9.0)))

    monkeypatch.setattr(KeptRun, "of_layer", next_number)

    forward = keeping(tmp_path, "llama")

    assert forward.prefix_cache is None
    assert "other bits warm than cold" in forward.prefix_cache_reason
    assert forward.rewards([text_of([5, 6, 7])]) == Fresh(tmp_path)([text_of([5, 6, 7])])


def test_where_parts_would_be_merged_nothing_is_kept(tmp_path: Path) -> None:
    forward = keeping(tmp_path, "gemma2")

    assert forward.prefix_cache is None
    assert forward.prefix_cache_reason.startswith("deterministic: its attention runs each text")


@needs_compiler
def test_native_attention_whose_bits_depend_on_company_gives_way_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, calls = NativeLibrary.attention, count()

    def other_each_time(*args: Any, **options: Any) -> torch.Tensor:
        return own(*args, **options) * (1 + 1e-6 * (next(calls) % 5))

    monkeypatch.setattr(NativeLibrary, "attention", other_each_time)

    forward = keeping(tmp_path, "llama")

    assert forward.attention == "torch, as native gave other rewards or other bits"
    assert "not chunk by chunk, as" in forward.reason
    assert "other bits alone than in company" in forward.reason
    assert forward.shares_prefixes
