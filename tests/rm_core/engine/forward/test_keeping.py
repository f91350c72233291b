"""What is kept from pack to pack moves no reward: cold, warm, growing, evicted, in any company."""

import copy
import random
import threading
from typing import Any

import pytest
import torch
from torch.nn import Linear

from rm_core.engine.attention.kept import KeptRun
from rm_core.engine.forward.base import reads_of
from rm_core.engine.forward.by_length import LengthClassForward, class_borders
from rm_core.engine.forward.keeping import keep_prefixes
from rm_core.engine.forward.mean_head import AveragingForward
from rm_core.engine.forward.packed import PackedForward, TransformersTrunk, fastest_packed
from rm_core.engine.forward.self_test import Trial
from rm_core.engine.options import EngineOptions
from rm_core.engine.prefix_cache import PrefixCache
from rm_core.types import Encoded, ReadPosition
from tests.models import DECODERS, make_model
from tests.rm_core.engine.forward.test_by_length import make_phi3, texts_around_the_border

TOLERANCE = 1e-5
PLENTY = 2**30
Forward = PackedForward | LengthClassForward | AveragingForward


def keeping(
    model: Any, *, max_bytes: int = PLENTY, heads: tuple[Linear, ...] = (), fast: bool = True
) -> PackedForward:
    """A forward that keeps what it has computed, having shown that it may."""
    trial = Trial.of(model, heads, 256, reduced=False)
    forward = (
        fastest_packed(model, heads=heads)
        if fast
        else PackedForward(model, run=TransformersTrunk(model), heads=heads)
    )
    keep_prefixes(forward, trial, EngineOptions(prefix_cache_bytes=max_bytes))
    return forward


def cache_of(forward: Forward) -> PrefixCache:
    assert forward.prefix_cache is not None, forward.prefix_cache_reason
    return forward.prefix_cache


def stored_bytes(cache: PrefixCache) -> int:
    """What the tree's tensors and token ids take, counted one by one."""
    total = 0
    left = list(cache._tree._roots.values())
    while left:
        node = left.pop()
        left += node.children.values()
        if isinstance(node.run, KeptRun):
            total += node.run.keys[0].untyped_storage().nbytes() + len(node.key)
    return total


def alone(model: Any, heads: tuple[Linear, ...], texts: list[Encoded]) -> list[list[float]]:
    """By transformers' own forward of each text alone; every head at every read."""
    rows: list[list[float]] = []
    with torch.inference_mode():
        for text in texts:
            hidden = model.base_model(input_ids=torch.tensor([text.input_ids]))[0][0]
            every = (model.score, *heads)
            rows += [[float(head(hidden[at])[0]) for head in every] for at in reads_of(text)]
    return rows


def close(found: list[list[float]], expected: list[list[float]]) -> bool:
    one, other = torch.tensor(found), torch.tensor(expected)
    return bool(((one - other).abs() <= TOLERANCE * (1 + other.abs())).all())


def text_of(ids: list[int], *places: int) -> Encoded:
    extra = tuple(ReadPosition(at, 0, 0, "") for at in places)
    return Encoded(tuple(ids), len(ids) - 1, num_prompt_tokens=len(ids) // 2, extra_positions=extra)


def draw(rng: random.Random, count: int) -> list[int]:
    return [rng.randrange(4, 250) for _ in range(count)]


def packs(rng: random.Random) -> list[list[Encoded]]:
    """Conversations that grow, members of a group one after the other, beginnings, branches."""
    prompt, system = draw(rng, 60), draw(rng, 20)
    talks = [[*system, *draw(rng, 30)] for _ in range(2)]
    found: list[list[Encoded]] = []
    for _ in range(3):
        talks = [[*talk, *draw(rng, 25)] for talk in talks]
        found.append([text_of(talk) for talk in talks])
        found.append([text_of([*prompt, *draw(rng, rng.randint(1, 40))])])
    found += [[text_of(talks[0][:50]), text_of(talks[0]), text_of(talks[1][:31], 25)]]
    found += [[text_of([*talks[1][:47], *draw(rng, 9)]), text_of(prompt), text_of(prompt[:9])]]
    found += [[text_of(talks[0], 0, 60), text_of(talks[0])], [text_of([*prompt, 7], 59, 3)]]
    return found


@pytest.mark.parametrize(
    ("family", "fast"),
    [*((family, True) for family in DECODERS), ("llama", False), ("qwen3", False)],
)
def test_rewards_are_those_alone_cold_warm_growing_and_after_eviction(
    family: str, fast: bool
) -> None:
    model = make_model(family)
    heads = (Linear(32, 1),)
    reference = copy.deepcopy(model)
    forward = keeping(model, heads=heads, fast=fast)
    cache = cache_of(forward)
    rng = random.Random(3)

    for pack in packs(rng):
        assert close(forward.rewards(pack), alone(reference, heads, pack))
        assert stored_bytes(cache) == cache.stats().num_bytes

    stats = cache.stats()
    assert stats.hit_tokens > stats.lookup_tokens / 3
    cache.clear()
    assert cache.stats().num_bytes == stored_bytes(cache) == 0
    last = packs(rng)[-2]
    assert close(forward.rewards(last), alone(reference, heads, last))


def test_long_texts_by_other_frequencies_have_keys_of_their_own() -> None:
    model = make_phi3()
    reference = copy.deepcopy(model)
    forward = LengthClassForward(keeping(model), class_borders(model.config))
    texts = texts_around_the_border()
    expected = alone(reference, (), texts)

    for _ in range(3):
        assert close(forward.rewards(texts), expected)
        for text in texts:
            assert close(forward.rewards([text]), alone(reference, (), [text]))
    # The border's other side has not kept this beginning, though the ids are the same.
    short, long = texts[2], texts[6]
    assert short.input_ids[:100] == long.input_ids[:100]
    cache_of(forward).clear()
    forward.rewards([short])
    assert forward.cached_tokens(short) == short.num_tokens - 1
    assert forward.cached_tokens(long) == 0


def test_reads_within_what_is_kept_are_computed_anew() -> None:
    model = make_model("llama")
    reference = copy.deepcopy(model)
    forward = keeping(model)
    ids = draw(random.Random(1), 80)
    forward.rewards([text_of(ids)])
    cases = {
        "the end": (text_of(ids), 79),
        "the prompt's last token": (text_of(ids, 39), 39),
        "tokens": (text_of(ids, *range(40, 79)), 40),
        "the first token": (text_of(ids, 0), 0),
        "a beginning": (text_of(ids[:50]), 49),
        "one beyond the end": (text_of([*ids, 5]), 80),
    }

    for name, (text, taken) in cases.items():
        assert forward.cached_tokens(text) == taken, name
        assert close(forward.rewards([text]), alone(reference, (), [text])), name
    together = [text for text, _ in cases.values()]
    assert close(forward.rewards(together), alone(reference, (), together))


def test_a_mean_over_the_response_reads_it_whole() -> None:
    model = make_model("llama")
    plain = AveragingForward(fastest_packed(make_model("llama")), [True])
    inner = keeping(model)
    forward = AveragingForward(inner, [True])
    ids = draw(random.Random(1), 80)
    texts = [text_of(ids), text_of([*ids[:40], *draw(random.Random(2), 30)]), text_of(ids)]

    for text in texts:
        assert close(forward.rewards([text]), plain.rewards([text]))
    assert 0 < forward.cached_tokens(texts[0]) < inner.cached_tokens(texts[0])


def test_a_bound_is_never_passed_and_rewards_stay_right() -> None:
    model = make_model("llama")
    reference = copy.deepcopy(model)
    forward = keeping(model, max_bytes=200_000)
    cache = cache_of(forward)
    rng = random.Random(5)
    prompts = [draw(rng, 40) for _ in range(30)]

    for step in range(150):
        texts = [text_of([*rng.choice(prompts), *draw(rng, rng.randint(1, 60))]) for _ in range(4)]
        found = forward.rewards(texts)
        assert stored_bytes(cache) == cache.stats().num_bytes <= 200_000
        if step % 10 == 0:
            assert close(found, alone(reference, (), texts))
    assert cache.stats().evictions > 100
    assert cache.stats().hit_tokens > 0


def test_a_pack_beyond_the_bound_does_not_empty_the_cache_for_nothing() -> None:
    forward = keeping(make_model("llama"), max_bytes=200_000)
    cache = cache_of(forward)
    rng = random.Random(5)
    known = [text_of(draw(rng, 60)) for _ in range(5)]
    for _ in range(2):
        forward.rewards(known)
    before = cache.stats().tokens

    forward.rewards([text_of(draw(rng, 200)) for _ in range(8)])

    assert cache.stats().num_bytes <= 200_000
    assert sum(forward.cached_tokens(text) for text in known) >= before // 2


def test_scopes_never_meet() -> None:
    forward = keeping(make_model("llama"))
    ids = tuple(draw(random.Random(1), 50))
    one, other = (Encoded(ids, 49, cache_scope=scope) for scope in (b"one", b"other"))

    forward.rewards([one])

    assert forward.cached_tokens(one) == 49
    assert forward.cached_tokens(other) == 0
    forward.rewards([one, other])
    assert forward.cached_tokens(other) == 49


def test_a_plan_made_ahead_is_made_again_where_the_cache_has_changed() -> None:
    model = make_model("llama")
    reference = copy.deepcopy(model)
    forward = keeping(model)
    rng = random.Random(2)
    ids = draw(rng, 60)
    first, second = text_of(ids), text_of([*ids, *draw(rng, 20)])
    expected = alone(reference, (), [second])

    forward.rewards([first])
    forward.plan_ahead([second])
    cache_of(forward).clear()  # as where weights have changed: what the plan would read is gone
    assert close(forward.rewards([second]), expected)

    forward.rewards([first])
    forward.plan_ahead([second])
    branch = text_of([*ids[:33], *draw(rng, 20)])
    forward.rewards([branch])  # cuts the run that the plan reads
    assert close(forward.rewards([second]), expected)


def test_planning_and_asking_beside_a_forward_disturb_nothing() -> None:
    model = make_model("llama")
    reference = copy.deepcopy(model)
    forward = keeping(model, max_bytes=300_000)
    rng = random.Random(8)
    prompts = [draw(rng, 40) for _ in range(4)]
    rounds = [
        [text_of([*rng.choice(prompts), *draw(rng, rng.randint(1, 30))]) for _ in range(3)]
        for _ in range(60)
    ]
    stop = threading.Event()
    errors: list[BaseException] = []

    def ask() -> None:
        own = random.Random(9)
        try:
            while not stop.wait(0.0002):  # a moment, or it keeps the others from the interpreter
                texts = own.choice(rounds)
                assert 0 <= forward.cached_tokens(texts[0]) < texts[0].num_tokens
                cache_of(forward).stats()
        except BaseException as error:  # told to the test, whatever it is
            errors.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    planning: threading.Thread | None = None
    try:
        for number, texts in enumerate(rounds):
            if planning is not None:
                planning.join()
            if number + 1 < len(rounds):
                planning = threading.Thread(target=forward.plan_ahead, args=(rounds[number + 1],))
                planning.start()
            assert close(forward.rewards(texts), alone(reference, (), texts))
    finally:
        stop.set()
        asking.join()
    assert not errors


def test_a_forward_that_fails_leaves_nothing_half_written(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("llama")
    reference = copy.deepcopy(model)
    forward = keeping(model)
    rng = random.Random(2)
    ids = draw(rng, 60)
    forward.rewards([text_of(ids[:30])])
    before = cache_of(forward).stats()
    last = model.base_model.layers[-1].input_layernorm

    def fail(*_: object) -> None:
        raise ValueError("in the last layer")

    monkeypatch.setattr(last, "forward", fail)
    monkeypatch.setattr(forward._run, "_rms", False)
    with pytest.raises(ValueError, match="in the last layer"):
        forward.rewards([text_of(ids)])
    monkeypatch.undo()

    after = cache_of(forward).stats()
    assert (after.num_bytes, after.entries) == (before.num_bytes, before.entries)
    assert close(forward.rewards([text_of(ids)]), alone(reference, (), [text_of(ids)]))


def test_out_of_memory_empties_the_cache_and_tries_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_model("llama")
    reference = copy.deepcopy(model)
    forward = keeping(model)
    text = text_of(draw(random.Random(2), 60))
    forward.rewards([text])
    run, calls = type(forward._run).__call__, []

    def fails_first(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory")
        return run(*args)

    monkeypatch.setattr(type(forward._run), "__call__", fails_first)
    assert close(forward.rewards([text]), alone(reference, (), [text]))
    stats = cache_of(forward).stats()
    assert (stats.num_bytes, stats.max_bytes) == (0, PLENTY // 2)

    calls.clear()
    with pytest.raises(RuntimeError, match="not enough memory"):
        forward.rewards([text])  # nothing was held: there is nothing to give way


def test_a_model_whose_warm_rewards_differ_keeps_nothing_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def from_zero(self: KeptRun, layer: int) -> Any:
        return OWN(KeptRun(tuple(k.flip(0) for k in self.keys), self.values), layer)

    monkeypatch.setattr(KeptRun, "of_layer", from_zero)
    forward = keeping(make_model("llama"))
    monkeypatch.undo()

    assert forward.prefix_cache is None
    assert forward.prefix_cache_reason.startswith("warm rewards differ by")
    text = text_of(draw(random.Random(2), 60))
    assert forward.cached_tokens(text) == 0
    assert close(forward.rewards([text]), alone(make_model("llama"), (), [text]))


OWN = KeptRun.of_layer


def test_a_model_whose_layers_have_no_index_keeps_nothing_and_says_so() -> None:
    model = make_model("gpt2")
    trial = Trial.of(model, (), 256, reduced=False)
    forward = fastest_packed(model)
    for block in model.base_model.h:
        del block.attn.layer_idx

    keep_prefixes(forward, trial, EngineOptions(prefix_cache_bytes=PLENTY))

    assert forward.prefix_cache is None
    assert "can't be told apart" in forward.prefix_cache_reason


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (EngineOptions(prefix_cache_bytes=0), "switched off"),
        (EngineOptions(prefix_cache_bytes=9, deterministic=True), "deterministic"),
        (EngineOptions(prefix_cache_bytes=9, compile_layers=True), "compiled"),
    ],
)
def test_where_nothing_may_be_kept_the_reason_is_told(options: EngineOptions, reason: str) -> None:
    model = make_model("llama")
    trial = Trial.of(model, (), 256, reduced=False)
    forward = fastest_packed(model)

    keep_prefixes(forward, trial, options)

    assert forward.prefix_cache is None
    assert reason in forward.prefix_cache_reason
