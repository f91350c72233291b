import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rm_core.errors import InputError
from rm_core.rewards import pairwise_probabilities, rank, ranking, winner

mpmath.mp.dps = 50

REWARDS = st.lists(st.floats(min_value=-1e4, max_value=1e4), min_size=1, max_size=12)


def win_probability(a: float, b: float) -> float:
    return float(pairwise_probabilities([a, b])[0, 1])


@given(st.floats(min_value=-300, max_value=300), st.floats(min_value=-300, max_value=300))
def test_the_win_probability_equals_exact_arithmetic(a: float, b: float) -> None:
    exact = 1 / (1 + mpmath.exp(-mpmath.mpf(a - b)))

    assert win_probability(a, b) == pytest.approx(float(exact), rel=1e-14)


def test_equal_rewards_win_half_the_time() -> None:
    assert win_probability(3.3, 3.3) == 0.5


def test_extreme_rewards_stay_probabilities() -> None:
    assert win_probability(1.7e308, -1.7e308) == 1.0
    assert win_probability(-1.7e308, 1.7e308) == 0.0


@given(REWARDS)
def test_each_pairs_probabilities_sum_to_one(rewards: list[float]) -> None:
    table = pairwise_probabilities(rewards)

    assert np.allclose(table + table.T, 1.0, rtol=0, atol=1e-15)
    assert (np.diag(table) == 0.5).all()


def test_row_beats_column() -> None:
    table = pairwise_probabilities([1.0, 0.0])

    assert table[0, 1] == pytest.approx(0.7310585786300049)  # σ(1)
    assert table[1, 0] == win_probability(0.0, 1.0)


def test_ties_share_the_better_place() -> None:
    assert rank([2.0, 5.0, 2.0, 1.0]) == [2, 1, 2, 4]
    assert ranking([2.0, 5.0, 2.0, 1.0]) == [[1], [0, 2], [3]]


@given(REWARDS, st.randoms())
def test_the_order_of_the_responses_does_not_matter(rewards: list[float], random) -> None:  # type: ignore[no-untyped-def]
    order = list(range(len(rewards)))
    random.shuffle(order)

    assert rank([rewards[i] for i in order]) == [rank(rewards)[i] for i in order]


def test_the_winner_is_the_best_and_a_tie_has_none() -> None:
    assert winner([1.0, 3.0, 2.0]) == 1
    assert winner([3.0, 3.0, 2.0]) is None
    assert winner([3.0, 2.0, 2.0]) == 0


def test_comparing_nothing_is_an_error() -> None:
    with pytest.raises(InputError):
        winner([])


@pytest.mark.parametrize("function", [pairwise_probabilities, rank, ranking, winner])
def test_a_reward_that_is_not_finite_is_not_compared(function) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError) as caught:
        function([1.0, math.nan])

    assert caught.value.field == "rewards"
