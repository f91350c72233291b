from tests.training.losses.values import tensor
from training.losses import centering_terms, l2_terms


def test_centring_is_the_squared_sum_and_ignores_the_gap() -> None:
    assert centering_terms(tensor(2, 5), tensor(1, -5)).tolist() == [9, 0]


def test_centring_pulls_both_rewards_the_same_way() -> None:
    chosen, rejected = tensor(2).requires_grad_(), tensor(1).requires_grad_()
    centering_terms(chosen, rejected).sum().backward()
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert chosen.grad.item() == rejected.grad.item() == 6


def test_l2_is_the_square() -> None:
    assert l2_terms(tensor(2, -3, 0)).tolist() == [4, 9, 0]
