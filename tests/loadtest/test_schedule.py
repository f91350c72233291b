import itertools
import statistics

import pytest

from loadtest.errors import LoadTestError
from loadtest.schedule import burst, poisson


def test_a_schedule_is_fixed_by_its_seed():
    assert poisson(100, rate=5, seed=3) == poisson(100, rate=5, seed=3)
    assert poisson(100, rate=5, seed=3) != poisson(100, rate=5, seed=4)
    assert burst(100, seconds=1, seed=3) == burst(100, seconds=1, seed=3)


def test_poisson_gaps_have_the_rate_s_mean_and_as_large_a_deviation():
    times = poisson(20_000, rate=50, seed=0).times
    gaps = [b - a for a, b in itertools.pairwise(times)]

    assert min(gaps) > 0
    assert statistics.mean(gaps) == pytest.approx(1 / 50, rel=0.03)
    assert statistics.pstdev(gaps) == pytest.approx(1 / 50, rel=0.03)


def test_a_burst_ends_within_its_time_and_zero_seconds_are_all_at_once():
    times = burst(500, seconds=0.4, seed=1).times

    assert list(times) == sorted(times)
    assert 0 <= times[0] < times[-1] <= 0.4
    assert set(burst(5, seconds=0, seed=1).times) == {0.0}


def test_a_rate_of_nothing_is_refused():
    with pytest.raises(LoadTestError, match="rate"):
        poisson(3, rate=0, seed=0)
