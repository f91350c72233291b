"""A text's rewards are those it has alone, in every way and any company; hypothesis picks it.

The oracle is transformers' own forward of one text, batch size 1, float32, no padding.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from random import Random
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import Linear

from rm_core.engine.attention import tree
from rm_core.engine.attention.kept import LayerRuns
from rm_core.engine.attention.masked import masked_attention
from rm_core.engine.attention.varlen import VarlenPlan, varlen_attention
from rm_core.engine.forward.batched import BatchedForward
from rm_core.engine.forward.packed import PackedForward, TransformersTrunk, fastest_packed
from rm_core.engine.options import EngineOptions
from rm_core.engine.packing.cost import SharedPrefixCost
from rm_core.engine.packing.plan import Pack
from rm_core.engine.packing.policy import Budget, QueuedSequence, select_pack
from rm_core.engine.trunk.chunked import ChunkedTrunk, is_llama_shaped
from rm_core.types import Encoded, EncodedItem
from tests.models import DECODERS, make_model
from tests.rm_core.engine.attention.oracles import ReferenceKernel
from tests.rm_core.engine.companies import (
    LARGEST_GROUP,
    LONGEST_PREFIX,
    Company,
    companies,
    examples,
)

TOLERANCE = 1e-5
CPU = torch.device("cpu")
FAMILIES = {
    **{name: (name, {}) for name in DECODERS},
    "llama-mqa": ("llama", {"num_key_value_heads": 1}),
    "mistral-narrow": ("mistral", {"sliding_window": 5}),
    "gemma2-narrow": ("gemma2", {"sliding_window": 5}),
}
LARGEST = Company(500, (LONGEST_PREFIX - 500,), LARGEST_GROUP, 250, 24, 0)

Rewards = list[list[float]]
Way = Callable[[Sequence[Encoded]], Rewards]


def model_of(family: str) -> Any:
    architecture, options = FAMILIES[family]
    return make_model(architecture, max_position_embeddings=1152, **options)


def second_head(model: Any) -> Linear:
    torch.manual_seed(1)
    return Linear(model.score.in_features, 1)


def by_kernel(
    forward: PackedForward, kernel: Callable[..., Tensor]
) -> Callable[[Sequence[Encoded]], Rewards]:
    """The same forward with another kernel where the CPU's own would run."""

    def rewards(texts: Sequence[Encoded]) -> Rewards:
        with patch.object(tree, "merged_attention", kernel):
            return forward.rewards(texts)

    return rewards


def by_varlen(
    query: Tensor, key: Tensor, value: Tensor, pack: Pack, *, scale: float, kept: LayerRuns
) -> Tensor:
    """As on CUDA, with the kernel's stand-in."""
    plan, kernel = VarlenPlan.of(pack, CPU), ReferenceKernel()
    return varlen_attention(query, key, value, plan, scale=scale, kernel=kernel, kept=kept)


def by_mask(
    query: Tensor, key: Tensor, value: Tensor, pack: Pack, *, scale: float, kept: LayerRuns
) -> Tensor:
    positions = torch.from_numpy(pack.position_ids)
    return masked_attention(
        query,
        key,
        value,
        pack,
        positions,
        scale=scale,
        sliding_window=None,
        softcap=None,
        kept=kept,
    )


@lru_cache(maxsize=1)
def ways(family: str) -> dict[str, Way]:
    """Every way to run a model of the family, each on weights of its own."""

    def fresh() -> tuple[Any, list[Linear]]:
        model = model_of(family)
        return model, [second_head(model)]

    chosen, heads = fresh()
    layers, _ = fresh()
    plain, _ = fresh()
    shared = PackedForward(layers, heads=heads)
    found: dict[str, Way] = {
        "as chosen": fastest_packed(chosen, heads=heads).rewards,
        "transformers' layers": shared.rewards,
        "every row": PackedForward(
            plain, run=TransformersTrunk(plain, skip_unread=False), heads=heads
        ).rewards,
        "CUDA's calls": by_kernel(shared, by_varlen),
        "under a mask": by_kernel(shared, by_mask),
    }
    if is_llama_shaped(chosen.base_model):
        run = ChunkedTrunk(fresh()[0].base_model, rows=16)
        found["small chunks"] = PackedForward(chosen, run=run, heads=heads).rewards
    return found


@lru_cache(maxsize=1)
def dear_ways(family: str) -> dict[str, Way]:
    """The ways that compute every prefix again."""
    packed, padded = model_of(family), model_of(family)
    heads = [second_head(packed)]
    return {
        "nothing shared": PackedForward(packed, heads=heads, share=False).rewards,
        "padded": BatchedForward(padded, heads=heads, reason="").rewards,
    }


@lru_cache(maxsize=1)
def oracle(family: str) -> Way:
    model = model_of(family)
    heads = [model.score, second_head(model)]

    @torch.inference_mode()
    def rewards(texts: Sequence[Encoded]) -> Rewards:
        rows = []
        for text in texts:
            ids = torch.tensor([text.input_ids])
            state = model.base_model(input_ids=ids, use_cache=False)[0][0, text.read_position]
            rows.append([float(head(state)) for head in heads])
        return rows

    return rewards


def some_of(texts: Sequence[Encoded], seed: int) -> list[int]:
    """A few texts, the fewer the longer they are: each is run alone."""
    few: list[int] = []
    for index in Random(seed).sample(range(len(texts)), min(8, len(texts))):
        if sum(texts[i].num_tokens for i in few) <= 2500:
            few.append(index)
    return few


def assert_equal(found: Rewards, expected: Rewards, what: str) -> None:
    error = (torch.tensor(found) - torch.tensor(expected)).abs().max()
    assert error <= TOLERANCE, f"{what}: off by {error:.1e}"


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=examples(12), deadline=None)
@given(company=companies())
@example(company=LARGEST)
def test_every_way_gives_each_text_the_rewards_it_has_alone(family: str, company: Company) -> None:
    texts = company.texts()
    few = some_of(texts, company.seed)
    alone = oracle(family)([texts[i] for i in few])

    chosen = ways(family)["as chosen"](texts)
    assert_equal([chosen[i] for i in few], alone, "as chosen")
    for name, way in ways(family).items():
        assert_equal(way(texts), chosen, name)
    for name, way in dear_ways(family).items():
        assert_equal(way([texts[i] for i in few]), alone, name)


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2", "gpt2"])
@settings(max_examples=examples(12), deadline=None)
@given(
    company=companies(),
    tokens=st.one_of(st.integers(1, 200), st.integers(1, 4000)),
    items=st.integers(1, 80),
    ahead=st.booleans(),
)
def test_packs_of_any_budget_planned_ahead_or_not_change_nothing(
    family: str, company: Company, tokens: int, items: int, ahead: bool
) -> None:
    texts = company.texts()
    forward = fastest_packed(model_of(family))
    together = [row[0] for row in ways(family)["as chosen"](texts)]
    waiting = [
        QueuedSequence(EncodedItem({"safety": t}), i, t.input_ids[:8]) for i, t in enumerate(texts)
    ]

    found: dict[int, float] = {}
    while waiting:
        chosen = select_pack(waiting, Budget(tokens, items), SharedPrefixCost)
        pack = [texts[waiting[i].order] for i in chosen]
        if ahead:
            forward.plan_ahead(pack)
        for at, row in zip(chosen, forward.rewards(pack), strict=True):
            found[waiting[at].order] = row[0]
        waiting = [entry for i, entry in enumerate(waiting) if i not in set(chosen)]

    assert [found[i] for i in range(len(texts))] == pytest.approx(together, abs=TOLERANCE)


@lru_cache(maxsize=1)
def deterministic(family: str) -> PackedForward:
    return fastest_packed(model_of(family), options=EngineOptions(deterministic=True))


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=examples(12), deadline=None)
@given(company=companies(), data=st.data())
def test_deterministic_rewards_have_the_same_bits_in_any_company(
    family: str, company: Company, data: st.DataObject
) -> None:
    texts = company.texts()[:24]
    forward = deterministic(family)
    together = forward.rewards(texts)

    alone = data.draw(st.integers(0, len(texts) - 1))
    some = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=8))

    assert forward.rewards([texts[alone]]) == [together[alone]]
    assert forward.rewards([texts[i] for i in some]) == [together[i] for i in some]
