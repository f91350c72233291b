import math

import numpy as np
import pytest

from rm_core.errors import ShapeMismatch
from rm_core.rewards import (
    DEGENERATE_STD,
    advantages_of,
    centred_advantages,
    group_advantages,
    leave_one_out_advantages,
    members,
    statistics_of,
    whiten,
    whiten_groups,
)


def whitened(*values: float) -> list[float]:
    """A group's values whitened by their own statistics."""
    return whiten(values, statistics_of(values)).values.tolist()


def test_each_group_is_whitened_as_if_it_were_alone() -> None:
    values, keys = [1.0, 10.0, 2.0, 30.0, 6.0, 50.0], ["a", "b", "a", "b", "a", "b"]

    advantages = group_advantages(values, keys)

    assert advantages[[0, 2, 4]].tolist() == whitened(1.0, 2.0, 6.0)
    assert advantages[[1, 3, 5]].tolist() == whitened(10.0, 30.0, 50.0)


def test_a_group_of_equal_rewards_has_no_advantage() -> None:
    assert group_advantages([3.3] * 4, ["a"] * 4).tolist() == [0.0] * 4


def test_a_lone_response_deviates_from_nothing_and_is_marked() -> None:
    result = whiten_groups([5.0, 1.0, 3.0], ["alone", "pair", "pair"])

    assert result.values[0] == 0.0
    assert result.scaled.tolist() == [False, True, True]
    assert result.statistics["pair"].mean == 2.0


def test_without_shift_a_lone_response_keeps_its_reward() -> None:
    assert whiten_groups([5.0], ["alone"], shift_mean=False).values.tolist() == [5.0]


def test_without_shift_each_group_keeps_its_own_mean() -> None:
    whitened = whiten_groups([1.0, 3.0, 10.0, 30.0], ["a", "a", "b", "b"], shift_mean=False)

    root = 0.5**0.5  # half the spread over its deviation, whatever the spread
    assert whitened.values == pytest.approx([2 - root, 2 + root, 20 - root, 20 + root])


def test_eps_is_added_to_each_groups_variance() -> None:
    # the variance of −1 and 1 is 2, and ±1 / √(2 + 2) = ±0.5
    assert group_advantages([-1.0, 1.0], ["a", "a"], eps=2.0).tolist() == [-0.5, 0.5]


def test_a_bad_reward_leaves_its_group_alone() -> None:
    result = whiten_groups([1.0, math.nan, 3.0], ["a", "a", "a"])

    assert math.isnan(result.values[1])
    assert result.values[[0, 2]].tolist() == whitened(1.0, 3.0)


def test_leave_one_out_by_hand() -> None:
    # 1 − (2 + 6)/2 = −3;  2 − (1 + 6)/2 = −1.5;  6 − (1 + 2)/2 = 4.5
    assert leave_one_out_advantages([1.0, 2.0, 6.0], ["a"] * 3) == pytest.approx([-3.0, -1.5, 4.5])


def test_leave_one_out_of_a_lone_response_is_zero() -> None:
    assert leave_one_out_advantages([7.0], ["a"]).tolist() == [0.0]


def test_groups_come_in_order_of_first_appearance() -> None:
    found = [(key, indices.tolist()) for key, indices in members(["b", "a", "b"])]

    assert found == [("b", [0, 2]), ("a", [1])]


@pytest.mark.parametrize("function", [group_advantages, leave_one_out_advantages])
def test_every_value_needs_a_group(function) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ShapeMismatch) as caught:
        function(np.zeros(3), ["a"])

    assert caught.value.field == "groups"


def test_centred_advantages_are_the_deviations_from_each_groups_own_mean() -> None:
    advantages = centred_advantages([1.0, 10.0, 3.0, 30.0], ["a", "b", "a", "b"])

    assert advantages.tolist() == [-1.0, -10.0, 1.0, 10.0]


def test_centred_advantages_leave_out_what_is_not_finite() -> None:
    advantages = centred_advantages([1.0, math.nan, 3.0, 7.0], ["a", "a", "a", "alone"])

    assert advantages[[0, 2, 3]].tolist() == [-1.0, 1.0, 0.0]
    assert math.isnan(advantages[1])


def test_centred_advantages_need_a_group_for_each_value() -> None:
    with pytest.raises(ShapeMismatch, match="groups"):
        centred_advantages([1.0, 2.0], ["a"])


def test_each_kind_is_the_function_of_its_name() -> None:
    values, keys = [1.0, 5.0, 2.0, 0.5], ["a", "a", "b", "b"]

    assert advantages_of(values, keys, "grpo").tolist() == group_advantages(values, keys).tolist()
    assert advantages_of(values, keys, "grpo_no_std").tolist() == [-2.0, 2.0, 0.75, -0.75]
    assert advantages_of(values, keys, "rloo").tolist() == [-4.0, 4.0, 1.5, -1.5]


def test_at_the_degenerate_deviation_eps_halves_the_variance_it_is_added_to() -> None:
    spread = DEGENERATE_STD / 2**0.5  # of two values ± spread the unbiased deviation is this

    advantages = group_advantages([-spread, spread], ["a", "a"])

    assert np.abs(advantages).tolist() == pytest.approx([0.5, 0.5])
