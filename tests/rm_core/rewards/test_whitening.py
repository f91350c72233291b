import itertools
import math
from collections.abc import Sequence

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rm_core.errors import InputError
from rm_core.rewards import (
    Statistics,
    Whitened,
    decay,
    from_baseline,
    merge,
    statistics_of,
    whiten,
)

mpmath.mp.dps = 50

REWARDS = st.lists(st.floats(min_value=-1e4, max_value=1e4), min_size=2, max_size=60)


def exact_statistics(values: Sequence[float]) -> tuple[int, mpmath.mpf, mpmath.mpf]:
    exact = [mpmath.mpf(value) for value in values]
    mean = mpmath.fsum(exact) / len(exact)
    return len(exact), mean, mpmath.fsum((value - mean) ** 2 for value in exact)


def whiten_batch(values: Sequence[float], **options: bool) -> Whitened:
    """Values whitened by their own statistics."""
    return whiten(values, statistics_of(values), **options)


def scale_of(values: Sequence[float]) -> float:
    return max(1e-140, *(abs(value) for value in values))  # below it m2 leaves the doubles


@given(REWARDS)
def test_one_pass_equals_exact_arithmetic(values: list[float]) -> None:
    count, mean, m2 = exact_statistics(values)
    scale = scale_of(values)

    ours = statistics_of(values)

    assert ours.count == count
    assert abs(ours.mean - mean) <= 1e-15 * scale
    assert abs(ours.m2 - m2) <= 1e-13 * m2 + 1e-28 * scale**2


@given(REWARDS, st.data())
def test_merging_any_split_equals_one_pass(values: list[float], data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(values)), max_size=5).map(sorted))
    count, mean, m2 = exact_statistics(values)
    scale = scale_of(values)

    merged = Statistics()
    for start, end in zip([0, *cuts], [*cuts, len(values)], strict=True):
        merged = merge(merged, statistics_of(values[start:end]))

    assert merged.count == count
    assert abs(merged.mean - mean) <= 1e-12 * scale
    assert abs(merged.m2 - m2) <= 1e-12 * m2 + 1e-25 * scale**2


def test_merging_keeps_its_precision_far_from_zero() -> None:
    # a naive Σx² − (Σx)²/n has no correct digit here
    values = [1e9 + value for value in (4.0, 7.0, 13.0, 16.0)]

    merged = merge(statistics_of(values[:1]), statistics_of(values[1:]))

    assert merged.variance == 30.0


def test_the_means_rounding_is_taken_out_of_the_deviations() -> None:
    # the exact mean 1 + 2⁻⁵³ rounds to 1; around it the two lie ±2⁻⁵³, and 2 · 2⁻¹⁰⁶ = 2⁻¹⁰⁵
    assert statistics_of([1.0, 1.0 + 2.0**-52]).m2 == 2.0**-105


def test_merging_is_symmetric_and_nothing_is_neutral() -> None:
    a, b = statistics_of([1.0, 2.0, 4.0]), statistics_of([-3.0, 0.5])

    assert merge(a, b) == merge(b, a)
    assert merge(a, Statistics()) == a
    assert merge(Statistics(), a) == a


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e200])
def test_a_value_that_is_not_finite_never_enters(bad: float) -> None:
    assert statistics_of([1.0, bad, 3.0]) == statistics_of([1.0, 3.0])
    assert statistics_of([bad]) == Statistics()


def test_the_largest_float32_leaves_the_statistics_finite() -> None:
    ours = statistics_of([3.4e38, -3.4e38, 0.0])

    assert all(math.isfinite(value) for value in ours[:3])


def test_whitening_by_hand() -> None:
    # mean 2, variance ((−1)² + 0² + 1²)/2 = 1, so x − 2 over √(1 + 1e−8)
    whitened = whiten_batch([1.0, 2.0, 3.0])

    assert whitened.scaled
    assert whitened.values == pytest.approx([-0.999999995, 0.0, 0.999999995], rel=1e-12)


def test_the_variance_is_unbiased() -> None:
    assert statistics_of([1.0, 2.0, 3.0, 4.0]).variance == pytest.approx(5.0 / 3.0, rel=1e-15)


def test_without_shift_the_mean_stays_where_it_was() -> None:
    whitened = whiten_batch([1.0, 2.0, 6.0], shift_mean=False)

    assert whitened.values.mean() == pytest.approx(3.0)
    assert whitened.values - 3.0 == pytest.approx(whiten_batch([1.0, 2.0, 6.0]).values)


@given(st.floats(min_value=-1e38, max_value=1e38), st.integers(2, 40))
def test_a_constant_batch_stays_finite_and_near_zero(value: float, count: int) -> None:
    whitened = whiten_batch([value] * count)

    assert np.isfinite(whitened.values).all()
    assert np.abs(whitened.values).max() <= 1e-10 * max(abs(value), 1.0)


@given(REWARDS)
def test_a_whitened_batch_has_mean_zero_and_at_most_unit_variance(values: list[float]) -> None:
    whitened = whiten_batch(values).values

    assert abs(whitened.mean()) <= 1e-7
    assert whitened.var(ddof=1) <= 1.0 + 1e-9


@pytest.mark.parametrize("values", [[], [4.0]])
def test_before_two_values_they_pass_as_they_are_and_say_so(values: list[float]) -> None:
    whitened = whiten_batch(values)

    assert not whitened.scaled
    assert whitened.values.tolist() == values


def test_a_bad_value_comes_back_as_nan_and_its_neighbours_do_not_notice() -> None:
    with_bad = whiten_batch([1.0, math.inf, 2.0, 6.0]).values
    without = whiten_batch([1.0, 2.0, 6.0]).values

    assert math.isnan(with_bad[1])
    assert with_bad[[0, 2, 3]].tolist() == without.tolist()


def test_rewards_of_forty_and_of_ten_thousand_stay_finite() -> None:
    for size in (40.0, 1e4):
        assert np.isfinite(whiten_batch([-size, size, 0.0]).values).all()


def test_a_baseline_gives_back_its_mean_and_std() -> None:
    start = from_baseline(0.3, 1.7, 64.0)

    assert (start.count, start.mean) == (64.0, 0.3)
    assert start.std == pytest.approx(1.7, rel=1e-15)


def test_a_baseline_makes_the_first_value_sane() -> None:
    merged = merge(from_baseline(0.0, 2.0, 64.0), statistics_of([2.0]))

    assert whiten([2.0], merged).values[0] == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(
    ("baseline", "field"),
    [
        ((math.nan, 1.0, 10.0), "mean"),
        ((0.0, 0.0, 10.0), "std"),
        ((0.0, math.inf, 10.0), "std"),
        ((0.0, 1.0, 1.0), "weight"),
        ((0.0, 1.0, math.nan), "weight"),
    ],
)
def test_a_baseline_out_of_range_is_refused(
    baseline: tuple[float, float, float], field: str
) -> None:
    with pytest.raises(InputError) as caught:
        from_baseline(*baseline)

    assert caught.value.field == field


def test_after_one_half_life_the_past_counts_half_and_keeps_mean_and_variance() -> None:
    past = statistics_of([1.0, 2.0, 3.0, 4.0, 7.0, 7.0, 8.0, 9.0])

    later = decay(past, 100.0, half_life=100.0)

    assert later.count == 4.0
    assert later.mean == past.mean
    assert later.variance == pytest.approx(past.variance, rel=1e-15)


@given(REWARDS, st.floats(min_value=0.3, max_value=1e5), st.data())
def test_however_samples_are_cut_into_requests_their_statistics_are_the_weighted_ones(
    values: list[float], half_life: float, data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(1, len(values) - 1), max_size=6, unique=True).map(sorted))
    weights = [
        mpmath.power(2, -mpmath.mpf(age) / mpmath.mpf(half_life))
        for age in reversed(range(len(values)))
    ]
    total = mpmath.fsum(weights)
    mean = mpmath.fdot(weights, values) / total
    m2 = mpmath.fsum(w * (x - mean) ** 2 for w, x in zip(weights, values, strict=True))
    degrees = total - mpmath.fsum(w * w for w in weights) / total
    scale = scale_of(values)

    found = Statistics()
    for start, end in zip([0, *cuts], [*cuts, len(values)], strict=True):
        past = decay(found, end - start, half_life=half_life)
        found = merge(past, statistics_of(values[start:end], half_life=half_life))

    assert found.count == pytest.approx(float(total), rel=1e-12)
    assert found.degrees_of_freedom == pytest.approx(float(degrees), rel=1e-12)
    assert abs(found.mean - mean) <= 1e-12 * scale
    assert abs(found.m2 - m2) <= 1e-12 * m2 + 1e-25 * scale**2


def test_the_weighted_variance_is_unbiased() -> None:
    # E[m2] = σ²·(Σw − Σw²/Σw) of independent values: over all 2⁵ sequences of ±1, σ² = 1, the
    # mean of the variances is 1
    variances = [
        statistics_of(signs, half_life=1.5).variance
        for signs in itertools.product([-1.0, 1.0], repeat=5)
    ]

    assert np.mean(variances) == pytest.approx(1.0, rel=1e-14)  # type: ignore[arg-type]


def test_without_end_a_half_life_is_no_half_life() -> None:
    values = [1.0, 2.0, 4.0, 8.0]

    weighted, plain = statistics_of(values, half_life=1e15), statistics_of(values)

    assert weighted.variance == pytest.approx(plain.variance, rel=1e-12)
    assert weighted.degrees_of_freedom == pytest.approx(3.0, rel=1e-12)
    assert plain.degrees_of_freedom is None


def test_forgetting_never_loses_a_scale_that_was_known() -> None:
    later = decay(statistics_of([1.0, 3.0]), 300.0, half_life=1.0)

    assert later.count == pytest.approx(2.0**-299, rel=1e-12)
    assert later.variance == pytest.approx(2.0, rel=1e-12)


def test_a_baseline_and_its_scale_fade_alike() -> None:
    later = decay(from_baseline(0.3, 1.7, 64.0), 200.0, half_life=100.0)

    assert (later.count, later.std) == (16.0, pytest.approx(1.7, rel=1e-15))


def test_one_value_has_no_scale_however_old() -> None:
    lone = decay(statistics_of([5.0], half_life=3.0), 7.0, half_life=3.0)

    assert lone.variance is None
    assert merge(lone, statistics_of([6.0], half_life=3.0)).variance == pytest.approx(0.5)


def test_no_half_life_forgets_nothing() -> None:
    past = statistics_of([1.0, 3.0])

    assert decay(past, 1e9, half_life=None) is past


def test_a_lone_value_is_forgotten_by_its_weight() -> None:
    assert decay(Statistics(1.0, 5.0, 0.0), 10.0, half_life=10.0) == Statistics(0.5, 5.0, 0.0, 0.0)
    assert decay(Statistics(), 10.0, half_life=10.0) == Statistics()


def test_a_half_life_is_above_zero() -> None:
    for call in (
        lambda: decay(statistics_of([1.0, 2.0]), 1.0, half_life=0.0),
        lambda: statistics_of([1.0, 2.0], half_life=-1.0),
    ):
        with pytest.raises(InputError) as caught:
            call()

        assert caught.value.field == "half_life"


def test_eps_is_above_zero() -> None:
    with pytest.raises(InputError):
        whiten([1.0], Statistics(2.0, 0.0, 0.0), eps=0.0)
