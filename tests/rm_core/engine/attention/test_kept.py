"""Kernels over what a cache holds equal plain attention of each sequence alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rm_core.engine.attention.kept import KeptRun
from rm_core.engine.attention.masked import masked_attention
from rm_core.engine.attention.merged import merged_attention, merged_attention_at
from rm_core.engine.attention.tree import TreePlan, tree_attention
from rm_core.engine.attention.varlen import VarlenPlan, varlen_attention
from rm_core.engine.packing.plan import plan_pack
from tests.rm_core.engine.attention.oracles import ReferenceKernel, WarmPack, warm_packs

SCALE = 0.3
CPU = torch.device("cpu")
GROUPED, ALIKE = (4, 2), (2, 2)


class Layer(torch.nn.Module):
    """An attention module that knows which layer it belongs to."""

    layer_idx = 0


@pytest.mark.parametrize("heads", [ALIKE, GROUPED], ids=["mha", "gqa"])
@settings(max_examples=12, deadline=None)
@given(warm=warm_packs())
def test_every_kernel_equals_each_sequence_alone(heads: tuple[int, int], warm: WarmPack) -> None:
    query, key, value = warm.tensors(*heads)
    pack, kept = warm.pack, warm.kept_runs(*heads)
    position_ids = torch.from_numpy(pack.position_ids)

    merged = merged_attention(query, key, value, pack, scale=SCALE, kept=kept)
    masked = masked_attention(
        query,
        key,
        value,
        pack,
        position_ids,
        scale=SCALE,
        sliding_window=None,
        softcap=None,
        kept=kept,
    )
    plan = VarlenPlan.of(pack, CPU)
    varlen = varlen_attention(
        query, key, value, plan, scale=SCALE, kernel=ReferenceKernel(), kept=kept
    )

    expected = warm.alone(*heads, scale=SCALE)
    for found in (merged, masked, varlen):
        assert torch.allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize(("window", "softcap"), [(3, None), (None, 2.0), (5, 1.5), (100, None)])
@settings(max_examples=8, deadline=None)
@given(warm=warm_packs())
def test_windows_and_soft_caps_reach_into_what_is_kept(
    window: int | None, softcap: float | None, warm: WarmPack
) -> None:
    query, key, value = warm.tensors(*GROUPED)
    tree = TreePlan.of(warm.pack, CPU, kept=warm.kept(*GROUPED))

    found, _ = tree_attention(
        Layer(),
        query,
        key,
        value,
        None,
        tree=tree,
        scaling=SCALE,
        sliding_window=window,
        softcap=softcap,
    )

    expected = warm.alone(*GROUPED, scale=SCALE, window=window, softcap=softcap)
    assert torch.allclose(found, expected, atol=2e-6)


@settings(max_examples=20, deadline=None)
@given(warm=warm_packs(), data=st.data())
def test_attending_from_a_few_rows_equals_those_rows_of_the_whole(
    warm: WarmPack, data: st.DataObject
) -> None:
    query, key, value = warm.tensors(*GROUPED)
    picked = data.draw(st.sets(st.integers(0, warm.pack.num_tokens - 1), min_size=1))
    rows = np.array(sorted(picked), dtype=np.int64)

    found = merged_attention_at(
        query[:, :, rows],
        key,
        value,
        warm.pack,
        rows,
        scale=SCALE,
        kept=warm.kept_runs(*GROUPED),
    )

    expected = warm.alone(*GROUPED, scale=SCALE)[:, rows]
    assert torch.allclose(found, expected, atol=2e-6)


def test_queries_get_the_gradients_of_kept_keys_too() -> None:
    ids = [5, 6, 7, 8, 9, 10]
    pack = plan_pack([ids], [5], min_shared_tokens=1, cached=[[4]])
    warm = WarmPack([ids], [[5]], [[4]], pack)
    whole = plan_pack([ids], [5])
    every = WarmPack([ids], [[5]], [[]], whole).tensors(*GROUPED)

    def gradient(query: Tensor, key: Tensor, value: Tensor, warm: WarmPack | None) -> Tensor:
        query = query.clone().requires_grad_()
        kept = {} if warm is None else warm.kept_runs(*GROUPED)
        out = merged_attention(
            query, key, value, whole if warm is None else pack, scale=SCALE, kept=kept
        )
        out[:, -2:].square().sum().backward()
        assert query.grad is not None
        return query.grad[:, :, -2:]

    assert torch.allclose(
        gradient(*warm.tensors(*GROUPED), warm), gradient(*every, None), atol=1e-5
    )


def test_what_a_layer_computes_is_handed_on_by_its_index() -> None:
    taken: list[tuple[int, tuple[int, ...]]] = []

    def capture(layer: int, key: Tensor, value: Tensor) -> None:
        taken.append((layer, tuple(key.shape)))
        assert value.shape == key.shape

    pack = plan_pack([[1, 2, 3]], [2])
    tree = TreePlan.of(pack, CPU, capture=capture)
    rows = torch.randn(1, 2, 3, 8)

    tree_attention(Layer(), rows, rows, rows, None, tree=tree)

    assert taken == [(0, (1, 2, 3, 8))]


def test_a_module_without_an_index_is_refused_where_something_is_kept() -> None:
    pack = plan_pack([[1, 2, 3]], [2], min_shared_tokens=1, cached=[[1]])
    run = KeptRun((torch.zeros(1, 2, 8),), (torch.zeros(1, 2, 8),))
    rows = torch.randn(1, 2, 2, 8)

    with pytest.raises(AttributeError):
        tree_attention(
            torch.nn.Identity(),
            rows,
            rows,
            rows,
            None,
            tree=TreePlan.of(pack, CPU, kept=[run, None]),
        )
