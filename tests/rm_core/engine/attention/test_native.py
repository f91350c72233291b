"""The native kernel equals attention by its definition, and gives a row the same bits anywhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rm_core.engine.attention.kept import LayerRun, LayerRuns
from rm_core.engine.attention.merged import merged_attention
from rm_core.engine.attention.native import NativePlan, can_take, native_attention
from rm_core.engine.attention.tree import TreePlan, tree_attention
from rm_core.engine.packing.plan import Pack, plan_pack
from tests.rm_core.engine.attention.oracles import dense_attention, trees
from tests.rm_core.engine.native.compiled import library, needs_compiler

pytestmark = needs_compiler

SCALE = 0.3
SHAPES = [(2, 2, 8), (4, 2, 64), (7, 1, 20), (6, 2, 37), (40, 1, 16)]
"""Query heads, key-value heads and their dimension: even, odd, and more heads than lanes."""

Row = tuple[Tensor, Tensor, Tensor]


def flat_row(tokens: int, heads: int, key_value_heads: int, dim: int, seed: int = 0) -> Row:
    """Random query, key and value as projections leave them: (tokens, heads · dim) seen by head."""
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (
        torch.randn(tokens, count * dim, generator=generator)
        .view(1, tokens, count, dim)
        .transpose(1, 2)
        for count in (heads, key_value_heads, key_value_heads)
    )
    return query * 2 / (SCALE * dim**0.5), key, value  # scores of the order of 2


def groups(seed: int) -> Pack:
    """Two groups around the borders of blocks of keys, prompts shared."""
    rng = np.random.default_rng(seed)
    sequences = []
    for prompt in (60, 130):
        ids = rng.integers(0, 500, prompt).tolist()
        sequences += [ids + rng.integers(0, 500, n).tolist() for n in (1, 4, 63, 70)]
    return plan_pack(sequences, [len(ids) - 1 for ids in sequences])


def attention(row: Row, pack: Pack, window: int | None = None, kept: LayerRuns | None = None):
    return native_attention(
        library(), *row, NativePlan(pack), scale=SCALE, sliding_window=window, kept=kept or {}
    )


def exact(row: Row, pack: Pack, window: int | None = None) -> Tensor:
    return dense_attention(*(each.double() for each in row), pack, scale=SCALE, window=window)


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=25, deadline=None)
@given(pack=trees(), window=st.sampled_from([None, 1, 3, 100]))
def test_random_trees_equal_attention_by_its_definition(
    shape: tuple[int, int, int], pack: Pack, window: int | None
) -> None:
    row = flat_row(pack.num_tokens, *shape, seed=pack.num_tokens)

    error = (attention(row, pack, window) - exact(row, pack, window)).abs().max()
    assert error < 3e-6


@pytest.mark.parametrize("window", [None, 20, 64, 65, 150])
@pytest.mark.parametrize("shape", SHAPES[1:3])
def test_long_texts_equal_attention_by_its_definition(
    shape: tuple[int, int, int], window: int | None
) -> None:
    pack = groups(0)
    row = flat_row(pack.num_tokens, *shape)

    error = (attention(row, pack, window) - exact(row, pack, window)).abs().max()
    assert error < 3e-6


def test_its_error_is_no_larger_than_torchs() -> None:
    pack = groups(7)
    row = flat_row(pack.num_tokens, 4, 2, 64)
    right = exact(row, pack)

    ours, torchs = (
        (found - right).square().mean().sqrt()
        for found in (attention(row, pack), merged_attention(*row, pack, scale=SCALE))
    )

    assert ours < 1.1 * torchs


def alone(pack: Pack, leaf: int) -> tuple[Pack, list[int]]:
    """A segment's whole path as a pack of one text, and its rows in the pack."""
    rows = [
        row
        for index in pack.chain(leaf)
        for row in range(pack.segments[index].start, pack.segments[index].end)
    ]
    return plan_pack([pack.input_ids[rows].tolist()], [len(rows) - 1]), rows


@pytest.mark.parametrize("window", [None, 50])
def test_a_row_has_the_same_bits_alone_and_in_any_tree(window: int | None) -> None:
    pack = groups(1)
    row = flat_row(pack.num_tokens, 4, 2, 64)
    together = attention(row, pack, window)[0]

    for leaf in range(len(pack.segments)):
        one, rows = alone(pack, leaf)
        own = tuple(each[:, :, rows] for each in row)
        assert torch.equal(attention(own, one, window)[0], together[rows])


def test_some_rows_asked_for_alone_have_the_bits_that_they_have_among_all() -> None:
    pack = groups(2)
    query, key, value = flat_row(pack.num_tokens, 4, 2, 64)
    together = attention((query, key, value), pack)
    rows = np.array([0, 3, 59, 60, 100, pack.num_tokens - 1])

    plan = NativePlan(pack, rows)
    some = native_attention(library(), query[:, :, rows], key, value, plan, scale=SCALE)

    assert torch.equal(some, together[:, rows])


def without_rows(pack: Pack, index: int) -> tuple[Pack, list[int]]:
    """The pack with a segment in a cache, and the rows that are left."""
    gone = pack.segments[index]
    length = gone.end - gone.start
    left = [row for row in range(pack.num_tokens) if not gone.start <= row < gone.end]
    segments = tuple(
        replace(
            each,
            start=each.start - length * (each.start >= gone.end),
            end=each.end - length * (each.end >= gone.end),
            subtree_end=each.subtree_end - length * (each.subtree_end >= gone.end),
            kept=length if each is gone else 0,
        )
        for each in pack.segments
    )
    shorter = replace(
        pack,
        segments=segments,
        input_ids=pack.input_ids[left],
        position_ids=pack.position_ids[left],
    )
    return shorter, left


@pytest.mark.parametrize("window", [None, 50])
def test_keys_from_a_cache_give_the_bits_of_keys_in_the_row(window: int | None) -> None:
    pack = groups(3)
    query, key, value = flat_row(pack.num_tokens, 4, 2, 64)
    together = attention((query, key, value), pack, window)
    prompt = next(i for i, each in enumerate(pack.segments) if each.subtree_end > each.end)
    shorter, left = without_rows(pack, prompt)
    run = slice(pack.segments[prompt].start, pack.segments[prompt].end)
    copied = (each[0, :, run].transpose(0, 1).clone() for each in (key, value))  # by token
    kept = {prompt: LayerRun(*(each.transpose(0, 1)[None] for each in copied))}

    row = tuple(each[:, :, left] for each in (query, key, value))

    assert torch.equal(attention(row, shorter, window, kept), together[:, left])


def test_one_thread_and_two_give_the_same_bits() -> None:
    pack = groups(4)
    row = flat_row(pack.num_tokens, 4, 2, 64)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = attention(row, pack)
        torch.set_num_threads(2)
        assert torch.equal(attention(row, pack), one)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 1, 2], ids=["query", "key", "value"])
def test_what_is_not_finite_stays_with_those_who_see_it(place: int, wrong: float) -> None:
    pack = plan_pack([list(range(100)), list(range(200, 280))], [99, 79])
    row = flat_row(180, 4, 2, 64)
    right = attention(row, pack)

    at = 70
    row[place][0, :, at] = wrong
    found = attention(row, pack)

    untouched = [*range(at), *range(100, 180)]
    assert torch.equal(found[:, untouched], right[:, untouched])
    # A key of infinite size weighs one or nothing; everything else shows.
    assert place == 1 or not torch.isfinite(found[:, at]).any()


def test_scores_far_beyond_what_an_exponential_holds_are_weighed_rightly() -> None:
    pack = groups(5)
    query, key, value = flat_row(pack.num_tokens, 4, 2, 64)
    row = (query * 1e3, key * 1e2, value)

    found = attention(row, pack)

    assert torch.isfinite(found).all()
    # One key has all the weight in nearly every row; ties within rounding are left out.
    close = (found.double() - exact(row, pack)).abs().amax((0, 2, 3)) < 1e-4
    assert close.float().mean() > 0.95


def test_the_kernel_takes_plain_float32_without_gradients() -> None:
    query, key, value = flat_row(3, 2, 2, 8)
    wide = flat_row(3, 2, 2, library().most_dim + 1)

    assert can_take(library(), query, key, value)
    assert not can_take(library(), *wide)
    assert not can_take(library(), query, key, value[..., :4])
    assert not can_take(library(), *(each.double() for each in (query, key, value)))
    assert not can_take(library(), query.requires_grad_(), key, value)
    with torch.no_grad():
        assert can_take(library(), query, key, value)


def test_tree_attention_takes_the_kernel_where_a_plan_has_it_and_torch_for_the_rest() -> None:
    pack = groups(6)
    row = flat_row(pack.num_tokens, 4, 2, 64)
    plain = TreePlan.of(pack, torch.device("cpu"))
    plan = replace(plain, native=library())

    def by(tree: TreePlan, **options: float) -> Tensor:
        return tree_attention(torch.nn.Identity(), *row, None, tree=tree, scaling=SCALE, **options)[
            0
        ]

    assert torch.equal(by(plan), attention(row, pack))
    assert not torch.equal(by(plain), by(plan))
    assert torch.allclose(by(plain), by(plan), atol=5e-6)
    assert torch.equal(by(plan, softcap=2.0), by(plain, softcap=2.0))


def test_rows_behind_the_plan_are_filling() -> None:
    pack = groups(0)
    row = flat_row(pack.num_tokens, 4, 2, 16)
    query, key, value = (torch.nn.functional.pad(each, (0, 0, 0, 7), value=9.0) for each in row)

    found = attention((query, key, value), pack)

    assert torch.equal(found[:, : pack.num_tokens], attention(row, pack))
    assert found.shape[1] == pack.num_tokens + 7
    assert not found[:, pack.num_tokens :].any()
