import numpy as np
import pytest
from scipy.stats import binomtest

from training.statistics.intervals import (
    RESAMPLES,
    bootstrap,
    clusters,
    draws,
    estimate,
    estimate_by_prompt,
    percentile_interval,
    wilson_interval,
)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (5, 10), (61, 100), (100, 100)])
def test_wilson_agrees_with_scipy(successes: int, trials: int) -> None:
    ours = wilson_interval(successes, trials)
    theirs = binomtest(successes, trials).proportion_ci(method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_every_resample_draws_as_many_prompts_as_there_are() -> None:
    drawn = np.concatenate(list(draws(7, seed=3)))
    assert drawn.shape == (RESAMPLES, 7)
    assert (drawn.sum(axis=1) == 7).all()
    # Each prompt is drawn once on average: the mean of 14,000 counts with variance 6/7.
    assert drawn.mean(axis=0) == pytest.approx(np.ones(7), abs=0.1)
    assert np.array_equal(drawn, np.concatenate(list(draws(7, seed=3))))
    assert not np.array_equal(drawn, np.concatenate(list(draws(7, seed=4))))


def test_blocks_do_not_change_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(draws(5, seed=0)))
    monkeypatch.setattr("training.statistics.intervals._BLOCK_DRAWS", 64)
    blocks = list(draws(5, seed=0))
    assert len(blocks) > 10
    assert np.array_equal(whole, np.concatenate(blocks))


def test_the_interval_of_a_mean_is_the_normal_one_where_theory_gives_it() -> None:
    values = np.random.default_rng(1).normal(2.0, 3.0, 1000)
    found = estimate(values, range(1000))
    assert found is not None
    assert found.interval is not None
    half = 1.96 * values.std() / np.sqrt(1000)
    assert found.value == pytest.approx(values.mean())
    assert (found.interval.low, found.interval.high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.03
    )


def test_a_ratio_of_sums_is_resampled_with_its_prompts() -> None:
    """Three values of one prompt always come together."""
    keys = ["a", "a", "a", "b"]
    sums = np.column_stack([np.array([1.0, 1, 1, 0]), np.ones(4)])
    means = bootstrap(sums, keys, lambda drawn: drawn[:, 0] / drawn[:, 1], seed=0)
    assert set(np.round(means, 6)) == {0.0, 0.75, 1.0}


def test_too_little_data_gives_nothing_or_no_interval() -> None:
    assert estimate([], []) is None
    assert estimate_by_prompt([], []) is None
    one = estimate([1.0, 0.0], ["a", "a"])
    assert one is not None
    assert (one.value, one.count, one.prompts, one.interval) == (0.5, 2, 1, None)


def test_by_prompt_every_prompt_weighs_the_same() -> None:
    found = estimate_by_prompt([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"])
    assert found is not None
    assert (found.value, found.count, found.prompts) == (0.5, 4, 2)


def test_clusters_number_keys_as_they_appear() -> None:
    assert clusters(["x", "y", "x", "z"]).tolist() == [0, 1, 0, 2]


def test_resamples_without_a_figure_are_left_out() -> None:
    figures = np.array([0.0, np.nan, 1.0])
    interval = percentile_interval(figures)
    assert (interval.low, interval.high) == pytest.approx((0.025, 0.975))
