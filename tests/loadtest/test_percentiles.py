import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.percentiles import distribution, is_resolved, percentile, summary


def test_percentiles_are_samples_by_the_nearest_rank():
    ordered = [float(n) for n in range(1, 101)]

    assert [percentile(ordered, p) for p in (0, 1, 50, 99, 99.5, 100)] == [1, 1, 50, 99, 100, 100]
    assert percentile([3.0], 50) == 3.0
    assert percentile([1.0, 2.0, 3.0, 4.0], 50) == 2.0


def test_a_percentile_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 50)


def test_a_percentile_is_told_only_where_ten_samples_lie_above_it():
    assert is_resolved(99, 1000)
    assert not is_resolved(99, 999)
    found = summary([float(n) for n in range(200)])
    assert found["p95"] == 189.0
    assert found["p99"] is None
    assert found["max"] == 199.0
    assert summary([7.0])["p50"] == 7.0
    assert "max" not in summary([])


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_the_distribution_ascends_to_the_largest_sample_and_counts_right(samples):
    rows = distribution(samples)

    assert rows[0].value_ms == min(samples)
    assert (rows[-1].value_ms, rows[-1].percentile) == (max(samples), 100.0)
    assert rows[-1].count == len(samples)
    for before, after in itertools.pairwise(rows):
        assert before.percentile < after.percentile
        assert before.value_ms <= after.value_ms
    for row in rows:
        assert sum(sample <= row.value_ms for sample in samples) >= row.count
        assert row.count / len(samples) * 100 >= row.percentile - 1e-6


def test_steps_halve_towards_100_percent():
    rows = distribution([float(n) for n in range(10_000)])
    steps = [b.percentile - a.percentile for a, b in itertools.pairwise(rows[:-1])]

    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(steps))
    assert rows[-2].percentile > 99.98
