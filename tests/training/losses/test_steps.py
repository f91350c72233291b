import math

import pytest

from tests.training.losses.values import tensor
from training.losses import step_terms


def test_a_step_s_loss_is_the_cross_entropy_of_its_label() -> None:
    terms = step_terms(tensor(0, 3, 3), tensor(1, 1, 0))
    good = 1 / (1 + math.exp(-3))
    assert terms.tolist() == pytest.approx([math.log(2), -math.log(good), -math.log(1 - good)])


def test_a_doubtful_label_is_met_by_an_undecided_reward() -> None:
    undecided = tensor(math.log(0.7 / 0.3)).requires_grad_()
    step_terms(undecided, tensor(0.7)).sum().backward()
    assert undecided.grad is not None
    assert undecided.grad.item() == pytest.approx(0, abs=1e-12)
