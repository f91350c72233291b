import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.losses.values import tensor
from training.losses import bradley_terry_terms, centering_terms, hinge_terms

GAPS = st.lists(st.tuples(st.floats(-20, 20), st.floats(-20, 20)), min_size=1, max_size=8)


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
