import numpy as np
import pytest
from scipy.stats import binomtest

from training.statistics.intervals import (
    CORRELATION,
    RESAMPLES,
    SHARE,
    Interval,
    bootstrap,
    draws,
    estimate,
    estimate_by_prompt,
    honest_interval,
    interval_over_seeds,
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
    assert (one.value, one.count, one.prompts, one.interval) == (0.5, 2, 1, None)


@pytest.mark.parametrize("prompts", [2, 5, 300])
def test_prompts_that_all_agree_have_wilsons_interval_and_not_a_point(prompts: int) -> None:
    """Nine values of each prompt, which say no more than one: about the rule of three, 1 − 3/n."""
    keys = [index for index in range(prompts) for _ in range(9)]
    for value in (0.0, 1.0):
        expected = wilson_interval(value * prompts, prompts)
        for found in (
            estimate([value] * len(keys), keys, span=SHARE),
            estimate_by_prompt([value] * len(keys), keys, span=SHARE),
        ):
            low, high = found.interval.low, found.interval.high
            assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
            assert value in (low, high)
    assert 0.4 * 3 / prompts < 1 - low < 1.3 * 3 / prompts


def test_correlations_of_one_are_not_certain_either() -> None:
    found = estimate([1.0] * 10, range(10), span=CORRELATION)

    share = wilson_interval(10, 10)
    assert (found.interval.low, found.interval.high) == (pytest.approx(2 * share.low - 1), 1.0)


def test_what_has_no_span_or_any_spread_keeps_its_resampled_interval() -> None:
    assert estimate([7.0] * 5, range(5)).interval == Interval(7.0, 7.0)
    assert estimate([0.5] * 5, range(5), span=SHARE).interval == Interval(0.5, 0.5)
    spread = Interval(0.98, 1.0)
    assert honest_interval(spread, SHARE, 5) == spread
    mixed = [1.0] * 9 + [0.0]
    assert estimate(mixed, range(10), span=SHARE) == estimate(mixed, range(10))


def test_trainings_that_all_agree_on_few_prompts_are_not_certain() -> None:
    found = interval_over_seeds(np.ones((3, 6)), range(6), span=SHARE)
    assert (found.low, found.high) == (pytest.approx(wilson_interval(6, 6).low), 1.0)
    assert interval_over_seeds(np.ones((3, 6)), range(6)) == Interval(1.0, 1.0)


def test_by_prompt_every_prompt_weighs_the_same() -> None:
    found = estimate_by_prompt([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"])
    assert (found.value, found.count, found.prompts) == (0.5, 4, 2)


def test_resamples_without_a_figure_are_left_out() -> None:
    figures = np.array([0.0, np.nan, 1.0])
    interval = percentile_interval(figures)
    assert (interval.low, interval.high) == pytest.approx((0.025, 0.975))


def test_the_interval_over_seeds_covers_the_truth_about_as_often_as_it_says() -> None:
    """Credits are drawn from a known accuracy, with prompts and seeds that differ in difficulty."""
    generator = np.random.default_rng(0)
    covered = 0
    trials = 200
    for trial in range(trials):
        prompt = generator.normal(0, 1, size=(1, 80))
        seeds = generator.normal(0, 0.3, size=(4, 1))
        # By symmetry the accuracy over all prompts, seeds and noise is one half.
        right = prompt + seeds + generator.normal(0, 1, size=(4, 80)) > 0
        interval = interval_over_seeds(right.astype(np.float64), range(80), seed=trial)
        covered += interval.low <= 0.5 <= interval.high

    assert 0.90 * trials <= covered  # the method errs on the wide side


def test_seeds_that_disagree_widen_the_interval() -> None:
    def width(*rows: list[float]) -> float:
        found = interval_over_seeds(np.array(rows), range(len(rows[0])))
        return found.high - found.low

    assert width([1.0, 0.0] * 200, [1.0, 0.0] * 200) < 0.15
    assert width([1.0] * 400, [0.0] * 400) == 1.0


def test_values_of_one_prompt_are_drawn_together_over_seeds_too() -> None:
    """Twenty copies of each of six prompts say no more than the six."""
    once = np.array([[1.0, 1.0, 1.0, 0.0, 0.0, 1.0]])
    keys = [index for index in range(6) for _ in range(20)]

    assert interval_over_seeds(np.repeat(once, 20, axis=1), keys) == interval_over_seeds(
        once, range(6)
    )


def test_equal_prompts_and_seeds_meet_equal_draws() -> None:
    """The interval of a difference is paired: a second row that fails on one more prompt."""
    first = np.where(np.arange(60) < 24, 0.0, 1.0)[None]
    second = np.where(np.arange(60) == 59, 0.0, first)
    apart, alone = (interval_over_seeds(v, range(60)) for v in (second - first, second))

    assert apart.high == 0.0
    assert apart.high - apart.low < 0.4 * (alone.high - alone.low)
