"""Agreement of two versions, against numbers worked out by hand."""

import pytest

from service.swap.agreement import compare


def test_order_is_compared_pair_by_pair_and_a_new_tie_counts_half() -> None:
    found = compare([0.0, 1.0, 2.0], [0.0, 5.0, 5.0])

    assert (found.order_agreement, found.num_pairs) == (pytest.approx(2.5 / 3), 3)
    assert (found.mean_before, found.mean_after) == (1.0, pytest.approx(10 / 3))
    assert found.max_difference == 4.0


def test_pairs_without_an_order_tell_nothing() -> None:
    found = compare([1.0, 1.0], [0.0, 5.0])

    assert (found.order_agreement, found.num_pairs, found.correlation) == (None, 0, None)


@pytest.mark.parametrize(("after", "share"), [([3.0, 5.0, 9.0], 1.0), ([-3.0, -5.0, -9.0], 0.0)])
def test_a_rising_map_keeps_every_order_and_a_falling_one_none(
    after: list[float], share: float
) -> None:
    found = compare([0.0, 1.0, 3.0], after)

    assert found.order_agreement == share
    assert found.correlation == pytest.approx(1.0 if share else -1.0)
