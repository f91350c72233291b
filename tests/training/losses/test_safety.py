import math

import pytest

from tests.training.losses.values import tensor
from training.losses import safety_auxiliary_terms


def test_safety_loss_is_cross_entropy_of_the_score() -> None:
    terms = safety_auxiliary_terms(tensor(0, 2), tensor(1, 0))
    by_hand = [-math.log(0.5), -math.log(1 - 1 / (1 + math.exp(-2)))]
    assert terms.tolist() == pytest.approx(by_hand)
