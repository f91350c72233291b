import math
from itertools import permutations

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.training.losses.values import all_listed, matrix, tensor, whole
from training.losses import (
    bradley_terry_terms,
    kwise_terms,
    listnet_terms,
    plackett_luce_terms,
)

LISTS = st.lists(st.floats(-8, 8), min_size=2, max_size=5)


def kwise(rewards: Tensor, ranks: Tensor) -> Tensor:
    """The K-wise loss of one list, its pairs written out."""
    pairs = [(i, j) for i in range(len(ranks)) for j in range(len(ranks)) if ranks[i] < ranks[j]]
    chosen, rejected = [i for i, _ in pairs], [j for _, j in pairs]
    return kwise_terms(rewards[chosen], rewards[rejected], torch.tensor([len(pairs)]))


def plackett_luce(rewards: Tensor, ranks: Tensor) -> Tensor:
    one = rewards[None]
    return plackett_luce_terms(one, ranks[None], all_listed(one))[0]


def listnet(rewards: Tensor, ranks: Tensor) -> Tensor:
    one = rewards[None]
    return listnet_terms(one, -ranks[None].double(), all_listed(one))[0]


@given(first=st.floats(-30, 30), second=st.floats(-30, 30))
def test_of_two_responses_k_wise_and_plackett_luce_are_bradley_terry(
    first: float, second: float
) -> None:
    expected = bradley_terry_terms(tensor(first), tensor(second)).item()
    rewards, ranks = tensor(first, second), tensor(0, 1)
    assert kwise(rewards, ranks).item() == expected
    assert plackett_luce(rewards, ranks).item() == pytest.approx(expected, abs=1e-12)


@given(rewards=LISTS, shift=st.floats(-50, 50))
def test_a_common_shift_of_a_list_changes_nothing(rewards: list[float], shift: float) -> None:
    given_, ranks = tensor(*rewards), torch.arange(len(rewards)) // 2
    for loss in (listnet, plackett_luce):
        moved = loss(given_ + shift, ranks).item()
        assert moved == pytest.approx(loss(given_, ranks).item(), abs=1e-9)


@given(rewards=LISTS, data=st.data())
def test_the_order_in_which_responses_stand_changes_nothing(
    rewards: list[float], data: st.DataObject
) -> None:
    given_ = tensor(*rewards)
    ranks = torch.tensor([data.draw(st.integers(0, 2)) for _ in rewards])
    order = data.draw(st.permutations(range(len(rewards))))
    for loss in (listnet, plackett_luce):
        again = loss(given_[order], ranks[order]).item()
        assert again == pytest.approx(loss(given_, ranks).item(), abs=1e-9)


@given(rewards=LISTS)
def test_plackett_luce_probabilities_of_all_orders_add_up_to_one(rewards: list[float]) -> None:
    total = sum(
        math.exp(-plackett_luce(tensor(*rewards), torch.tensor(order)).item())
        for order in permutations(range(len(rewards)))
    )
    assert total == pytest.approx(1)


def test_ties_are_weighed_as_exactly_as_the_rewards_are() -> None:
    """Thirds and sevenths, which float32 rounds at the eighth digit."""
    rewards = tensor(0.3, -1.2, 2.0, 0.7, -0.4, 1.1, 0.9)
    for tied in (3, 7):
        ranks = torch.tensor([0] * tied + [1] * (len(rewards) - tied))
        exact = mpmath.mpf(0)
        for start, end in ((0, tied), (tied, len(rewards))):
            own = [mpmath.exp(mpmath.mpf(value)) for value in rewards[start:end].tolist()]
            later = mpmath.fsum(mpmath.exp(mpmath.mpf(v)) for v in rewards[end:].tolist())
            for drawn in range(len(own)):
                left = mpmath.fsum(own) * (1 - mpmath.mpf(drawn) / len(own))
                exact += mpmath.log(left + later) - mpmath.log(own[drawn])

        assert plackett_luce(rewards, ranks).item() == pytest.approx(float(exact), rel=1e-14)


def test_tied_responses_are_drawn_together_by_plackett_luce_and_by_listnet() -> None:
    for loss in (plackett_luce, listnet):
        rewards = tensor(1.0, -1.0, -1.5).requires_grad_()
        loss(rewards, torch.tensor([0, 0, 1])).backward()
        assert rewards.grad is not None
        assert rewards.grad[0] > rewards.grad[1]  # the descent lowers the higher of the two more
        even = tensor(1.0, 1.0, -1.5).requires_grad_()
        loss(even, torch.tensor([0, 0, 1])).backward()
        assert even.grad is not None
        assert even.grad[0].item() == pytest.approx(even.grad[1].item(), abs=1e-12)


@given(relevance=LISTS, shift=st.floats(-5, 5))
def test_listnet_is_least_where_rewards_are_the_relevances(
    relevance: list[float], shift: float
) -> None:
    wanted = matrix(tuple(relevance))
    rewards = (wanted + shift).requires_grad_()
    loss = listnet_terms(rewards, wanted, all_listed(wanted))
    loss.sum().backward()
    entropy = torch.distributions.Categorical(logits=wanted).entropy()
    assert torch.allclose(loss, entropy)
    assert rewards.grad is not None
    assert torch.allclose(rewards.grad, torch.zeros_like(wanted), atol=1e-12)


@pytest.mark.parametrize("loss", [listnet_terms, plackett_luce_terms])
def test_filling_has_no_part_in_a_list(loss: object) -> None:
    assert callable(loss)
    rewards, ranks = matrix((0.5, -1, 2)), whole((1, 0, 1))
    padded = torch.cat([rewards, matrix((7, 1e4))[:, :]], dim=1).requires_grad_()
    padded_ranks = torch.cat([ranks, whole((0, -5))], dim=1)
    listed = torch.tensor([[True, True, True, False, False]])
    found = loss(padded, padded_ranks, listed)
    assert torch.allclose(found, loss(rewards, ranks, all_listed(rewards)))
    found.sum().backward()
    assert padded.grad is not None
    assert padded.grad[0, 3:].tolist() == [0, 0]
    empty = torch.zeros_like(listed)
    assert loss(padded, padded_ranks, empty).tolist() == [0]
