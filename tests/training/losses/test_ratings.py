import torch

from tests.training.losses.values import tensor
from training.losses import regression_terms


def test_the_error_is_squared() -> None:
    assert regression_terms(tensor(3, 0, -1), tensor(1, 0, 1)).tolist() == [4, 0, 4]


def test_a_response_without_a_rating_costs_nothing_as_it_is_not_there() -> None:
    rewards = tensor(3, 8, -1).requires_grad_()
    rated = torch.tensor([0, 2])
    regression_terms(rewards[rated], tensor(1, 1)).sum().backward()
    assert rewards.grad is not None
    assert rewards.grad.tolist() == [4, 0, -4]


def test_half_precision_rewards_meet_ratings_in_single_precision() -> None:
    rewards = torch.tensor([1.0], dtype=torch.bfloat16)
    terms = regression_terms(rewards, torch.tensor([1.001], dtype=torch.float32))
    assert terms.dtype == torch.float32
    assert terms.item() > 0
