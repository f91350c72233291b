import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rm_core.errors import ShapeMismatch
from training.losses import (
    MARGINS,
    OBJECTIVES,
    bradley_terry_loss,
    bradley_terry_terms,
    safety_auxiliary_loss,
)
from training.records import STRENGTHS


def tensor(*values: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype)


def test_loss_has_its_literal_values() -> None:
    assert bradley_terry_loss(tensor(0), tensor(0)).item() == pytest.approx(math.log(2))
    assert bradley_terry_loss(tensor(2), tensor(1)).item() == pytest.approx(0.3132616875182228)
    assert bradley_terry_loss(tensor(1), tensor(2)).item() == pytest.approx(1.3132616875182228)
    two = bradley_terry_loss(tensor(2, 1), tensor(1, 2))
    assert two.item() == pytest.approx(0.8132616875182228)


def test_margin_is_subtracted_from_the_gap() -> None:
    with_margin = bradley_terry_loss(tensor(3), tensor(1), tensor(1))
    assert with_margin.item() == pytest.approx(bradley_terry_loss(tensor(2), tensor(1)).item())
    assert bradley_terry_loss(tensor(3), tensor(0), 3.0).item() == pytest.approx(math.log(2))


def test_margin_zero_is_plain_bradley_terry() -> None:
    chosen, rejected = torch.randn(7), torch.randn(7)
    assert torch.equal(
        bradley_terry_loss(chosen, rejected, torch.zeros(7)), bradley_terry_loss(chosen, rejected)
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_agree_with_finite_differences(name: str) -> None:
    torch.manual_seed(0)
    chosen = torch.randn(5, dtype=torch.float64, requires_grad=True)
    rejected = torch.randn(5, dtype=torch.float64, requires_grad=True)
    margin = torch.rand(5, dtype=torch.float64)
    terms = OBJECTIVES[name]
    assert torch.autograd.gradcheck(lambda c, r: terms(c, r, margin), (chosen, rejected))


def test_safety_loss_gradient_agrees_with_finite_differences() -> None:
    torch.manual_seed(0)
    rewards = torch.randn(5, dtype=torch.float64, requires_grad=True)
    labels = tensor(1, 0, 1, 1, 0)
    assert torch.autograd.gradcheck(lambda r: safety_auxiliary_loss(r, labels), (rewards,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gap", [1e4, -1e4])
def test_huge_gaps_stay_finite_in_loss_and_gradient(dtype: torch.dtype, gap: float) -> None:
    chosen = tensor(gap, dtype=dtype).requires_grad_()
    loss = bradley_terry_loss(chosen, tensor(0, dtype=dtype))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(chosen.grad).all()
    assert loss.item() == pytest.approx(max(0.0, -float(chosen.item())), rel=1e-6)


@given(
    shift=st.floats(-50, 50),
    rewards=st.lists(st.tuples(st.floats(-20, 20), st.floats(-20, 20)), min_size=1, max_size=8),
)
def test_a_common_shift_of_all_rewards_changes_nothing(
    shift: float, rewards: list[tuple[float, float]]
) -> None:
    chosen, rejected = tensor(*(c for c, _ in rewards)), tensor(*(r for _, r in rewards))
    moved = bradley_terry_loss(chosen + shift, rejected + shift)
    assert moved.item() == pytest.approx(bradley_terry_loss(chosen, rejected).item(), abs=1e-9)


def test_shapes_that_would_broadcast_are_refused() -> None:
    flat, column = torch.zeros(3), torch.zeros(3, 1)
    for chosen, rejected, margin in (
        (flat, column, 0.0),
        (column, flat, 0.0),
        (column, column, 0.0),
        (flat, flat, column),
        (flat, flat, torch.zeros(1)),
        (flat, torch.zeros(2), 0.0),
    ):
        with pytest.raises(ShapeMismatch):
            bradley_terry_terms(chosen, rejected, margin)
    with pytest.raises(ShapeMismatch):
        safety_auxiliary_loss(flat, column)


def test_a_loss_over_no_pairs_is_refused() -> None:
    with pytest.raises(ShapeMismatch):
        bradley_terry_loss(torch.zeros(0), torch.zeros(0))


def test_half_precision_rewards_are_summed_in_single_precision() -> None:
    rewards = torch.tensor([1.0, 1.0], dtype=torch.bfloat16)
    assert bradley_terry_terms(rewards, rewards).dtype == torch.float32


def test_safety_loss_is_cross_entropy_of_the_score() -> None:
    loss = safety_auxiliary_loss(tensor(0, 2), tensor(1, 0))
    by_hand = -(math.log(0.5) + math.log(1 - 1 / (1 + math.exp(-2)))) / 2
    assert loss.item() == pytest.approx(by_hand)
    assert safety_auxiliary_loss(tensor(), tensor()).item() == 0.0


def test_margin_tables_are_those_of_llama_2() -> None:
    assert [MARGINS["small"][grade] for grade in STRENGTHS] == [1, 2 / 3, 1 / 3, 0]
    assert [MARGINS["large"][grade] for grade in STRENGTHS] == [3, 2, 1, 0]
    assert set(MARGINS["none"].values()) == {0.0}
