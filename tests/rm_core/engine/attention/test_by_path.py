"""Attention by path is attention, and a query's bits are those it has alone."""

import random

import pytest
import torch
from torch import Tensor

from rm_core.engine.attention import TreePlan, tree_attention
from rm_core.engine.attention.by_path import path_attention
from rm_core.engine.attention.kept import LayerRun
from rm_core.engine.packing.paths import PathPlan
from rm_core.engine.packing.plan import Pack, plan_pack
from rm_core.errors import UnsupportedModel
from tests.rm_core.engine.attention.oracles import dense_attention

SCALE = 0.3


def sequences(seed: int) -> list[list[int]]:
    """Groups whose prefixes end at odd places, and texts at the borders of blocks and tiles."""
    rng = random.Random(seed)

    def ids(count: int) -> list[int]:
        return [rng.randrange(1000) for _ in range(count)]

    prompts = [ids(count) for count in (77, 255, 300)]
    grown = [prompt + ids(rng.randrange(1, 280)) for prompt in prompts for _ in range(3)]
    return grown + [ids(count) for count in (1, 32, 33, 256, 257, 520)]


def pack_of(ids: list[list[int]]) -> Pack:
    return plan_pack(ids, [len(own) - 1 for own in ids])


def projections(
    pack: Pack, *, groups: int = 2, heads: int = 2, dim: int = 16
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values that a token's id and position decide."""
    table = torch.randn(1000, 600, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    at = table[torch.from_numpy(pack.input_ids), torch.from_numpy(pack.position_ids)]
    found = []
    for count in (groups * heads, groups, groups):
        angles = torch.randn(count, 1, dim, generator=generator) * 9
        found.append((at[None, :, None] * angles).sin()[None])
    return found[0], found[1], found[2]


def attend(pack: Pack, window: int | None, dtype: torch.dtype = torch.float32) -> Tensor:
    q, k, v = (each.to(dtype) for each in projections(pack))
    plan = PathPlan.of(pack, window=window)
    return path_attention(q, k, v, plan, num_tokens=pack.num_tokens, scale=SCALE)


@pytest.mark.parametrize("window", [None, 5, 64, 256, 300])
def test_it_equals_one_softmax_over_the_tree(window: int | None) -> None:
    pack = pack_of(sequences(0))

    expected = dense_attention(*projections(pack), pack, scale=SCALE, window=window)

    assert torch.allclose(attend(pack, window), expected, atol=2e-6)
    assert torch.allclose(attend(pack, window, torch.bfloat16).float(), expected, atol=0.02)


@pytest.mark.parametrize("window", [None, 64, 300])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_querys_bits_are_those_it_has_alone(seed: int, window: int | None) -> None:
    ids = sequences(seed)
    pack = pack_of(ids)
    together = attend(pack, window)[0]

    for own, row in zip(ids, pack.read_rows.tolist(), strict=True):
        assert torch.equal(attend(pack_of([own]), window)[0, -1], together[row])


@pytest.mark.parametrize("ends", [(37, 90, 299), (299,), (256, 299), (8, 280, 299)])
def test_what_a_cache_holds_changes_no_bit(ends: tuple[int, ...]) -> None:
    """Runs end at odd places; keys are those that the same path computed before."""
    ids = sequences(3)[6]
    whole = pack_of([ids])
    cold = attend(whole, None)[0]
    _, key, value = projections(whole)
    warm = plan_pack([ids], [len(ids) - 1], cached=[ends])
    kept = {
        index: LayerRun(key[:, :, start:end], value[:, :, start:end])
        for index, (start, end) in enumerate(zip((0, *ends), ends, strict=False))
    }
    assert warm.num_tokens == len(ids) - 299

    found = path_attention(
        *projections(warm),
        PathPlan.of(warm),
        num_tokens=warm.num_tokens,
        scale=SCALE,
        kept=kept,
    )

    assert torch.equal(found[0], cold[299:])


def test_rows_behind_the_plan_are_filling() -> None:
    pack = pack_of([list(range(40))])
    q, k, v = (torch.nn.functional.pad(each, (0, 0, 0, 56)) for each in projections(pack))
    k[:, :, 40:], v[:, :, 40:] = float("nan"), float("nan")

    found = path_attention(q, k, v, PathPlan.of(pack), num_tokens=40, scale=SCALE)

    assert torch.equal(found[:, :40], attend(pack, None))
    assert not found[:, 40:].any()


def test_a_soft_cap_is_refused_by_name() -> None:
    pack = pack_of([[1, 2, 3]])
    tree = TreePlan.of(pack, torch.device("cpu"), by_path=True)
    row = torch.ones(1, 1, 3, 8)

    with pytest.raises(UnsupportedModel, match="soft cap"):
        tree_attention(torch.nn.Identity(), row, row, row, None, tree=tree, softcap=50.0)
