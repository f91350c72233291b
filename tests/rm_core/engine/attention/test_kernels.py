"""All kernels equal plain attention of each sequence alone, on random trees."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rm_core.engine.attention.masked import masked_attention
from rm_core.engine.attention.merged import (
    merge_part,
    merged_attention,
    merged_attention_at,
)
from rm_core.engine.attention.tree import TreePlan, tree_attention
from rm_core.engine.attention.varlen import VarlenPlan, varlen_attention
from rm_core.engine.packing.plan import Pack, plan_pack
from tests.rm_core.engine.attention.oracles import ReferenceKernel, dense_attention, trees

SCALE = 0.3
CPU = torch.device("cpu")


def random_tensors(pack: Pack, heads: int, kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(pack.num_tokens)
    shapes = [(1, h, pack.num_tokens, 8) for h in (heads, kv_heads, kv_heads)]
    query, key, value = (torch.randn(shape, generator=generator) for shape in shapes)
    return query * 3, key, value


def alone(
    pack: Pack,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """From the definition, in float64."""
    exact = (tensor.double() for tensor in (query, key, value))
    return dense_attention(*exact, pack, scale=SCALE, window=window, softcap=softcap).float()


@pytest.mark.parametrize(("heads", "kv_heads"), [(2, 2), (4, 2), (3, 1)], ids=["mha", "gqa", "mqa"])
@settings(max_examples=40, deadline=None)
@given(pack=trees())
def test_every_kernel_equals_each_sequence_alone(heads: int, kv_heads: int, pack: Pack) -> None:
    query, key, value = random_tensors(pack, heads, kv_heads)
    expected = alone(pack, query, key, value)
    position_ids = torch.from_numpy(pack.position_ids)

    merged = merged_attention(query, key, value, pack, scale=SCALE)
    masked = masked_attention(
        query, key, value, pack, position_ids, scale=SCALE, sliding_window=None, softcap=None
    )
    varlen = varlen_attention(
        query, key, value, VarlenPlan.of(pack, CPU), scale=SCALE, kernel=ReferenceKernel()
    )

    for found in (merged, masked, varlen):
        assert torch.allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize(("window", "softcap"), [(3, None), (None, 2.0), (5, 1.5), (100, None)])
@settings(max_examples=30, deadline=None)
@given(pack=trees())
def test_windows_and_soft_caps_reach_over_segments(
    window: int | None, softcap: float | None, pack: Pack
) -> None:
    query, key, value = random_tensors(pack, 4, 2)

    found, _ = tree_attention(
        torch.nn.Identity(),
        query,
        key,
        value,
        None,
        tree=TreePlan.of(pack, CPU),
        scaling=SCALE,
        sliding_window=window,
        softcap=softcap,
    )

    assert torch.allclose(found, alone(pack, query, key, value, window, softcap), atol=2e-6)


@settings(max_examples=60, deadline=None)
@given(pack=trees(), data=st.data())
def test_attending_from_a_few_rows_equals_those_rows_of_the_whole(
    pack: Pack, data: st.DataObject
) -> None:
    query, key, value = random_tensors(pack, 4, 2)
    picked = data.draw(st.sets(st.integers(0, pack.num_tokens - 1), min_size=1))
    rows = np.array(sorted(picked), dtype=np.int64)

    found = merged_attention_at(query[:, :, rows], key, value, pack, rows, scale=SCALE)

    expected = alone(pack, query, key, value)[:, rows]
    assert torch.allclose(found, expected, atol=2e-6)


@given(pack=trees())
def test_the_number_of_varlen_calls_is_the_trees_depth(pack: Pack) -> None:
    plan = VarlenPlan.of(pack, CPU)

    deepest = max(len(pack.chain(i)) for i in range(len(pack.segments)))
    assert len(plan.below) == deepest - 1
    assert plan.own.rows.tolist() == list(range(pack.num_tokens))


def test_merging_is_exact_for_far_apart_log_sum_exps() -> None:
    out, lse = torch.zeros(2, 3), torch.tensor([200.0, -200.0])
    part, part_lse = torch.ones(2, 3), torch.tensor([-200.0, 200.0])

    merge_part(out, lse, part, part_lse)

    assert out.tolist() == [[0.0] * 3, [1.0] * 3]
    assert lse.tolist() == [200.0, 200.0]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2)])
def test_cuda_flash_kernel_equals_the_masked_one(heads: int, kv_heads: int) -> None:
    prompt = list(range(50))
    sequences = [prompt + [60 + g] * (10 + 7 * g) for g in range(6)] + [[1, 2, 3]]
    pack = plan_pack(sequences, [len(s) - 1 for s in sequences])
    shapes = [(1, h, pack.num_tokens, 64) for h in (heads, kv_heads, kv_heads)]
    query, key, value = (torch.randn(s, device="cuda", dtype=torch.bfloat16) for s in shapes)
    tree = TreePlan.of(pack, torch.device("cuda"))

    found = varlen_attention(query, key, value, tree.varlen, scale=0.125)

    expected = masked_attention(
        query.float(),
        key.float(),
        value.float(),
        pack,
        tree.position_ids,
        scale=0.125,
        sliding_window=None,
        softcap=None,
    )
    assert torch.allclose(found.float(), expected, atol=2e-2)
