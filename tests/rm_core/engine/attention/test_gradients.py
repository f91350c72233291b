"""Gradients of every kernel are those of one softmax under the tree's mask."""

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from rm_core.engine.attention.merged import merged_attention
from rm_core.engine.attention.tree import TreePlan, tree_attention
from rm_core.engine.attention.varlen import VarlenPlan, varlen_attention
from rm_core.engine.packing.plan import Pack, plan_pack
from tests.rm_core.engine.attention.oracles import ReferenceKernel, dense_attention, trees

SCALE = 0.3
CPU = torch.device("cpu")
THREE_LEVELS = plan_pack(
    [[1, 1, 1, 2, 2, 3], [1, 1, 1, 2, 2, 4, 4], [1, 1, 1, 5, 5], [6, 7, 8]],
    [5, 6, 4, 2],
    min_shared_tokens=1,
)
"""A prompt under a system prompt, with two responses, and a stranger."""


def leaves(
    pack: Pack, heads: int, kv_heads: int, dtype: torch.dtype = torch.float64, size: float = 1.0
) -> list[Tensor]:
    """Query, key and value as attention layers hand them over: heads before tokens by a view."""
    generator = torch.Generator().manual_seed(pack.num_tokens)
    shapes = [(1, pack.num_tokens, h, 4) for h in (heads, kv_heads, kv_heads)]
    drawn = (torch.randn(shape, generator=generator, dtype=dtype) * size for shape in shapes)
    return [each.transpose(1, 2).requires_grad_() for each in drawn]


def gradients_of(out: Tensor, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    return torch.autograd.grad((out * weights.to(out)).sum(), tensors)


@pytest.mark.parametrize(("heads", "kv_heads"), [(2, 2), (4, 2), (3, 1)], ids=["mha", "gqa", "mqa"])
def test_merged_gradients_are_those_of_finite_differences(heads: int, kv_heads: int) -> None:
    tensors = leaves(THREE_LEVELS, heads, kv_heads)

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return merged_attention(q, k, v, THREE_LEVELS, scale=SCALE)

    assert torch.autograd.gradcheck(run, tensors)


@pytest.mark.parametrize(("heads", "kv_heads"), [(2, 2), (4, 2), (3, 1)], ids=["mha", "gqa", "mqa"])
@settings(max_examples=30, deadline=None)
@given(pack=trees())
def test_every_kernels_gradients_are_those_of_the_whole_row(
    heads: int, kv_heads: int, pack: Pack
) -> None:
    tensors = leaves(pack, heads, kv_heads)
    whole = dense_attention(*tensors, pack, scale=SCALE)
    expected = gradients_of(whole, tensors)
    plan = VarlenPlan.of(pack, CPU)

    merged = merged_attention(*tensors, pack, scale=SCALE)
    varlen = varlen_attention(*tensors, plan, scale=SCALE, kernel=ReferenceKernel())

    for out in (merged, varlen):
        assert torch.allclose(out, whole, atol=1e-12)
        for found, wanted in zip(gradients_of(out, tensors), expected, strict=True):
            assert torch.allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize(
    ("window", "softcap"), [(3, None), (None, 2.0), (5, 1.5), (100, None), (1, None)]
)
@settings(max_examples=20, deadline=None)
@given(pack=trees())
def test_gradients_reach_over_segments_through_windows_and_soft_caps(
    window: int | None, softcap: float | None, pack: Pack
) -> None:
    tensors = leaves(pack, 4, 2)
    options = {"scaling": SCALE, "sliding_window": window, "softcap": softcap}
    tree = TreePlan.of(pack, CPU)

    out, _ = tree_attention(torch.nn.Identity(), *tensors, None, tree=tree, **options)

    whole = dense_attention(*tensors, pack, scale=SCALE, window=window, softcap=softcap)
    expected = gradients_of(whole, tensors)
    # The masked kernel's softmax under a soft-cap is always float32's.
    tolerance = 1e-12 if softcap is None else 1e-5
    for found, wanted in zip(gradients_of(out, tensors), expected, strict=True):
        assert torch.allclose(found, wanted, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.bfloat16, 0.05)])
def test_gradients_stay_right_where_one_part_outweighs_the_others(
    dtype: torch.dtype, tolerance: float
) -> None:
    tensors = leaves(THREE_LEVELS, 4, 2, dtype, size=6.0)
    precise = [tensor.detach().double().requires_grad_() for tensor in tensors]

    found = gradients_of(merged_attention(*tensors, THREE_LEVELS, scale=SCALE), tensors)

    whole = dense_attention(*precise, THREE_LEVELS, scale=SCALE)
    for one, other in zip(found, gradients_of(whole, precise), strict=True):
        assert one.dtype == dtype
        assert (one.double() - other).abs().max() <= tolerance * (1 + other.abs().max())


@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_a_gradient_comes_alone_where_only_one_is_wanted(wanted: int) -> None:
    tensors = leaves(THREE_LEVELS, 4, 2)
    together = gradients_of(merged_attention(*tensors, THREE_LEVELS, scale=SCALE), tensors)
    frozen = [t.detach().requires_grad_(i == wanted) for i, t in enumerate(tensors)]

    out = merged_attention(*frozen, THREE_LEVELS, scale=SCALE)

    assert torch.equal(gradients_of(out, [frozen[wanted]])[0], together[wanted])


def test_without_gradients_nothing_is_kept_for_them() -> None:
    tensors = leaves(THREE_LEVELS, 4, 2)
    with_gradients = merged_attention(*tensors, THREE_LEVELS, scale=SCALE)

    with torch.no_grad():
        without = merged_attention(*tensors, THREE_LEVELS, scale=SCALE)
    detached = merged_attention(*(t.detach() for t in tensors), THREE_LEVELS, scale=SCALE)

    assert without.grad_fn is None
    assert detached.grad_fn is None
    assert torch.equal(without, with_gradients)


def test_a_second_derivative_is_refused_and_not_wrong() -> None:
    tensors = leaves(THREE_LEVELS, 2, 2)
    out = merged_attention(*tensors, THREE_LEVELS, scale=SCALE)
    (first,) = torch.autograd.grad((out * out).sum(), tensors[:1], create_graph=True)

    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2)])
def test_cuda_flash_gradients_are_those_of_the_whole_row(heads: int, kv_heads: int) -> None:
    prompt = list(range(50))
    sequences = [prompt + [60 + g] * (10 + 7 * g) for g in range(6)] + [[1, 2, 3]]
    pack = plan_pack(sequences, [len(s) - 1 for s in sequences])
    shapes = [(1, h, pack.num_tokens, 64) for h in (heads, kv_heads, kv_heads)]
    drawn = [torch.randn(s, dtype=torch.bfloat16) for s in shapes]
    tensors = [each.cuda().requires_grad_() for each in drawn]
    precise = [each.double().requires_grad_() for each in drawn]
    tree = TreePlan.of(pack, torch.device("cuda"))

    found = gradients_of(varlen_attention(*tensors, tree.varlen, scale=0.125).cpu(), tensors)

    whole = dense_attention(*precise, pack, scale=0.125)
    for one, other in zip(found, gradients_of(whole, precise), strict=True):
        assert (one.cpu().double() - other).abs().max() <= 0.05 * (1 + other.abs().max())
