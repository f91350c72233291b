from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau, pearsonr, rankdata, spearmanr

from tests.training.evaluation.made_up_examples import example
from training.evaluation.rankings import (
    correlation_estimate,
    quality_by_rank,
    rank_correlations,
    ranking_figures,
)

VALUES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=12).filter(
    lambda rows: len({x for x, _ in rows}) > 1 and len({y for _, y in rows}) > 1
)


@given(VALUES)
def test_tau_and_rho_are_those_counted_pair_by_pair_with_ties(rows: list[tuple[int, int]]) -> None:
    x, y = np.array(rows, dtype=float).T
    pairs = [(np.sign(a - c), np.sign(b - d)) for (a, b), (c, d) in combinations(rows, 2)]
    untied = [sum(abs(pair[side]) for pair in pairs) for side in (0, 1)]
    by_hand = sum(left * right for left, right in pairs) / np.sqrt(untied[0] * untied[1])

    tau, rho = rank_correlations(x.tolist(), y)

    assert tau == pytest.approx(by_hand, abs=1e-12)
    assert rho == pytest.approx(pearsonr(rankdata(x), rankdata(y)).statistic, abs=1e-12)


def test_the_mean_is_over_prompts_of_three_and_more() -> None:
    examples = [
        example("a", ("x", "y", "z")),
        example("b", ("x", "y", "z"), ranking=(0, 1, 1)),
        example("c"),
        example("d", ("x", "y", "z"), ranking=(0, 0, 0)),
        example("e", ("x", "y", "z")),
    ]
    rewards = [(3.0, 2.0, 1.0), (0.0, 1.0, 2.0), (0.0, 9.0), (1.0, 2.0, 3.0), (5.0, 5.0, 5.0)]
    found = ranking_figures(examples, rewards)
    expected = [1.0, kendalltau([0, 1, 2], [0, -1, -1]).statistic, 0.0]
    assert found.rankings.kendall.value == pytest.approx(np.mean(expected))
    assert found.rankings.kendall.prompts == 3
    assert found.rankings.constant == 1
    assert found.ratings is None


def test_ratings_are_compared_within_prompts_and_across_those_of_one_source() -> None:
    examples = [
        example("a", ("x", "y", "z"), ratings=(1.0, 2.0, 3.0), source="one"),
        example("b", ("x", "y", "z"), ratings=(4.0, 5.0, None), source="one"),
        example("c", ("x",), ratings=(0.0,), source="two"),
    ]
    rewards = [(1.0, 2.0, 3.0), (2.5, 9.0, 0.0), (1.0,)]
    found = ranking_figures(examples, rewards)
    assert found.ratings.spearman.value == 1.0
    assert found.ratings.spearman.prompts == 1  # the other prompt has two ratings only
    assert set(found.rated_sources) == {"one"}
    across = found.rated_sources["one"]
    expected = spearmanr([1.0, 2.0, 3.0, 2.5, 9.0], [1, 2, 3, 4, 5]).statistic
    assert across.value == pytest.approx(expected)
    assert (across.count, across.prompts) == (5, 2)


def test_nothing_ranked_and_nothing_rated_gives_nothing() -> None:
    assert ranking_figures([example("a")], [(1.0, 0.0)]) is None
    assert ranking_figures([], []) is None


def test_quality_by_rank_is_the_share_of_the_others_beaten() -> None:
    assert quality_by_rank(
        example("a", ("w", "x", "y", "z"), ranking=(0, 2, 2, 3))
    ) == pytest.approx([1.0, 0.5, 0.5, 0.0])
    assert quality_by_rank(example("a")) is None


def test_a_correlation_has_fishers_interval_where_theory_gives_it() -> None:
    generator = np.random.default_rng(2)
    x = generator.normal(size=500)
    y = x + generator.normal(size=500)
    found = correlation_estimate(x, y, [str(i) for i in range(500)], seed=0)
    theirs = pearsonr(x, y)
    expected = theirs.confidence_interval()
    assert found.value == pytest.approx(theirs.statistic)
    assert (found.interval.low, found.interval.high) == pytest.approx(
        (expected.low, expected.high), abs=0.01
    )


def test_a_constant_has_no_correlation() -> None:
    assert correlation_estimate(np.ones(5), np.arange(5.0), list("abcde"), seed=0) is None
    assert correlation_estimate(np.arange(2.0), np.arange(2.0), list("ab"), seed=0) is None
