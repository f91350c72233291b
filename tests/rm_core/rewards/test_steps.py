import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rm_core.errors import InputError
from rm_core.rewards import StepAggregation, aggregate_steps

scores = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("how", "expected"), [("min", 0.25), ("product", 0.09375), ("last", 0.75), ("mean", 0.5)]
)
def test_by_hand(how: StepAggregation, expected: float) -> None:
    assert aggregate_steps([0.5, 0.25, 0.75], how) == pytest.approx(expected, abs=1e-15)


@given(scores)
def test_a_product_is_at_most_the_minimum_and_that_at_most_the_mean(values: list[float]) -> None:
    product, least, mean = (aggregate_steps(values, how) for how in ("product", "min", "mean"))

    assert product <= least
    assert least <= mean or math.isclose(least, mean)


@given(st.floats(0.0, 1.0), st.sampled_from(["min", "product", "last", "mean"]))
def test_one_step_is_its_own_score(score: float, how: StepAggregation) -> None:
    assert aggregate_steps([score], how) == score


def test_no_step_has_no_score() -> None:
    with pytest.raises(InputError, match="without steps"):
        aggregate_steps([], "mean")
