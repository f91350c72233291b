from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.evaluation.made_up_examples import example
from training.evaluation.best_of_n import best_of_n, expected_quality

RESPONSES = st.lists(st.tuples(st.integers(0, 3), st.integers(-5, 5)), min_size=1, max_size=7)


@given(RESPONSES)
def test_the_expectation_is_the_mean_over_all_draws_counted_one_by_one(
    rows: list[tuple[int, int]],
) -> None:
    rewards = [float(reward) for reward, _ in rows]
    quality = [float(worth) for _, worth in rows]
    for n, found in enumerate(expected_quality(rewards, quality), start=1):
        draws = []
        for drawn in combinations(range(len(rows)), n):
            best = max(rewards[i] for i in drawn)
            draws.append(np.mean([quality[i] for i in drawn if rewards[i] == best]))
        assert found == pytest.approx(np.mean(draws))


def test_curves_are_means_over_the_prompts_with_enough_responses() -> None:
    examples = [example("a", ("w", "x", "y", "z")), example("b", ("x", "y", "z"))]
    # The first is scored rightly, the second the wrong way round.
    found = best_of_n(examples, [(4.0, 3.0, 2.0, 1.0), (1.0, 2.0, 3.0)])
    points = {point.n: point for point in found.by_rank}
    assert [points[n].picked.prompts for n in (1, 2, 3, 4)] == [2, 2, 2, 1]
    assert points[1].picked.value == pytest.approx(0.5)
    assert points[3].picked.value == pytest.approx((np.mean([1, 1, 1, 2 / 3]) + 0.0) / 2)
    assert points[4].picked.value == points[4].oracle == 1.0
    assert points[4].picked.interval is None
    assert all(point.random == pytest.approx(0.5) for point in found.by_rank)
    assert found.by_rating == ()


def test_ratings_have_a_curve_of_their_own_in_their_unit() -> None:
    rated = example("a", ("x", "y", "z"), ratings=(10.0, 20.0, 60.0))
    found = best_of_n([rated], [(0.0, 1.0, 2.0)])
    last = found.by_rating[-1]
    assert (last.n, last.picked.value, last.oracle) == (3, 60.0, 60.0)
    assert last.random == pytest.approx(30.0)


def test_pairs_alone_have_no_curve() -> None:
    assert best_of_n([example("a")], [(1.0, 0.0)]) is None
