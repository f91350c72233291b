import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.accuracy import accuracy_of, accuracy_where
from training.statistics.intervals import Interval

REWARDS = st.lists(st.integers(-2, 2), min_size=1, max_size=30)


@given(REWARDS, REWARDS)
def test_swapping_the_sides_mirrors_the_accuracy_with_ties_at_one_half(
    left: list[int], right: list[int]
) -> None:
    count = min(len(left), len(right))
    gap = np.array(left[:count], dtype=float) - np.array(right[:count])
    keys = [str(index % 3) for index in range(count)]
    forward, backward = accuracy_of(gap, keys), accuracy_of(-gap, keys)
    assert forward.value + backward.value == pytest.approx(1.0)
    assert forward.ties == backward.ties == int((gap == 0).sum())
    wins = sum(a > b for a, b in zip(left, right, strict=False))
    assert forward.value == pytest.approx((wins + forward.ties / 2) / count)


def test_pairs_of_one_prompt_widen_the_interval_as_one_observation() -> None:
    generator = np.random.default_rng(0)
    verdicts = np.where(generator.random(40) < 0.7, 1.0, -1.0)
    single = accuracy_of(verdicts, [str(i) for i in range(40)])
    repeated = accuracy_of(np.repeat(verdicts, 9), [str(i) for i in range(40) for _ in range(9)])
    assert repeated.value == pytest.approx(single.value)
    assert repeated.bootstrap.high - repeated.bootstrap.low == pytest.approx(
        single.bootstrap.high - single.bootstrap.low, rel=1e-9
    )
    assert repeated.wilson.high - repeated.wilson.low < single.wilson.high - single.wilson.low


def test_the_bootstrap_of_independent_prompts_is_close_to_wilson() -> None:
    gap = np.where(np.arange(400) % 10 < 6, 1.0, -1.0)
    accuracy = accuracy_of(gap, [str(i) for i in range(400)])
    assert accuracy.bootstrap.low == pytest.approx(accuracy.wilson.low, abs=0.01)
    assert accuracy.bootstrap.high == pytest.approx(accuracy.wilson.high, abs=0.01)
    assert accuracy.excludes_chance


def test_one_prompt_says_nothing_of_others() -> None:
    accuracy = accuracy_of(np.array([1.0, 1.0, 1.0]), ["a", "a", "a"])
    assert accuracy.value == 1.0
    assert accuracy.bootstrap == Interval(0.0, 1.0)
    assert not accuracy.excludes_chance


def test_a_subset_without_pairs_has_no_accuracy() -> None:
    gap = np.array([1.0, -1.0])
    assert accuracy_where(gap, ["a", "b"], np.array([False, False])) is None
    kept = accuracy_where(gap, ["a", "b"], np.array([True, False]))
    assert (kept.value, kept.pairs) == (1.0, 1)


def test_five_prompts_that_are_all_right_are_not_certain() -> None:
    """Of ten pairs each: a bootstrap alone would say 100.0–100.0 %."""
    found = accuracy_of(np.ones(50), [f"prompt {index // 10}" for index in range(50)])

    assert (found.value, found.bootstrap.high) == (1.0, 1.0)
    assert found.bootstrap.low == pytest.approx(5 / (5 + 1.96**2), abs=1e-4)
    assert not accuracy_of(np.ones(2), ["a", "b"]).excludes_chance
