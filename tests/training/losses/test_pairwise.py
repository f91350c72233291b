import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.losses.values import tensor
from training.losses import bradley_terry_terms, centering_terms, hinge_terms

GAPS = st.lists(st.tuples(st.floats(-20, 20), st.floats(-20, 20)), min_size=1, max_size=8)


def test_terms_have_their_literal_values() -> None:
    terms = bradley_terry_terms(tensor(0, 2, 1), tensor(0, 1, 2))
    assert terms.tolist() == pytest.approx([math.log(2), 0.3132616875182228, 1.3132616875182228])


def test_margin_is_subtracted_from_the_gap() -> None:
    with_margin = bradley_terry_terms(tensor(3), tensor(1), tensor(1))
    assert with_margin.item() == pytest.approx(bradley_terry_terms(tensor(2), tensor(1)).item())
    assert bradley_terry_terms(tensor(3), tensor(0), 3.0).item() == pytest.approx(math.log(2))


def test_margin_zero_is_plain_bradley_terry() -> None:
    chosen, rejected = torch.randn(7), torch.randn(7)
    assert torch.equal(
        bradley_terry_terms(chosen, rejected, torch.zeros(7)), bradley_terry_terms(chosen, rejected)
    )


@pytest.mark.parametrize("gap", [1e4, -1e4])
def test_a_huge_gap_costs_itself_or_nothing(gap: float) -> None:
    loss = bradley_terry_terms(tensor(gap, dtype=torch.float32), torch.zeros(1))
    assert loss.item() == pytest.approx(max(0.0, -gap), rel=1e-6)


@given(shift=st.floats(-50, 50), rewards=GAPS)
def test_a_common_shift_of_all_rewards_changes_nothing(
    shift: float, rewards: list[tuple[float, float]]
) -> None:
    chosen, rejected = tensor(*(c for c, _ in rewards)), tensor(*(r for _, r in rewards))
    for terms in (bradley_terry_terms, hinge_terms):
        moved = terms(chosen + shift, rejected + shift)
        assert torch.allclose(moved, terms(chosen, rejected), rtol=0, atol=1e-9)


def test_centring_is_what_tells_a_shift() -> None:
    chosen, rejected = tensor(1.5), tensor(0.5)
    loss = bradley_terry_terms(chosen, rejected) + 0.01 * centering_terms(chosen, rejected)
    moved = bradley_terry_terms(chosen - 1, rejected - 1)
    moved += 0.01 * centering_terms(chosen - 1, rejected - 1)
    assert (loss - moved).item() == pytest.approx(0.01 * 4)  # (1.5 + 0.5)² against (0.5 − 0.5)²


@given(rewards=GAPS)
def test_the_gradient_pulls_both_rewards_alike_in_opposite_directions(
    rewards: list[tuple[float, float]],
) -> None:
    chosen = tensor(*(c for c, _ in rewards)).requires_grad_()
    rejected = tensor(*(r for _, r in rewards)).requires_grad_()
    bradley_terry_terms(chosen, rejected).sum().backward()
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert torch.allclose(chosen.grad, -torch.sigmoid(rejected - chosen))
    assert torch.equal(chosen.grad, -rejected.grad)


def test_the_hinge_is_content_one_unit_beyond_the_margin() -> None:
    terms = hinge_terms(tensor(3, 3, 0.25, 0), tensor(1, 1, 0, 1), tensor(0, 2, 0, 0.5))
    assert terms.tolist() == [0, 1, 0.75, 2.5]


def test_half_precision_rewards_are_summed_in_single_precision() -> None:
    rewards = torch.tensor([1.0, 1.0], dtype=torch.bfloat16)
    assert bradley_terry_terms(rewards, rewards).dtype == torch.float32
