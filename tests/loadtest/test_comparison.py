from dataclasses import replace

import pytest

from loadtest.comparison import Comparison
from loadtest.work import Work
from tests.loadtest.made_up_run import made_up_run


def run(texts_per_second, *, failed=0):
    return made_up_run(texts_per_second=texts_per_second, failed=failed)


@pytest.fixture
def comparison():
    return Comparison(
        runs={
            "rewardd": {"grpo": [run(60.0), run(30.0), run(90.0)]},
            "naive": {"grpo": [run(20.0), run(15.0), run(10.0)]},
        }
    )


def test_ratios_are_taken_within_a_round(comparison):
    assert comparison.ratios("naive", "grpo") == pytest.approx([3.0, 2.0, 9.0])
    assert "| rewardd | 60.0 |" in comparison.table()
    assert "| naive | 15.0 (3.00×, 2.00–9.00) |" in comparison.table()
    assert comparison.is_clean


def test_a_peer_with_wrong_rewards_is_marked(comparison):
    comparison.runs["naive"]["grpo"][1] = run(15.0, failed=3)

    assert not comparison.is_clean
    assert "✗" in comparison.table()
    assert "**naive, grpo: 3 × wrong reward**" in comparison.table()


def test_what_was_not_computed_and_the_work_beside_have_tables_of_their_own():
    burst = [replace(run(40.0), name="burst", work=Work(busy_seconds=4.0))] * 2
    paced = [
        replace(run(5.0), name="staggered", work=Work(busy_seconds=busy)) for busy in (4.4, 5.0)
    ]
    turns = [
        replace(run(9.0), name="turns", work=Work(read_tokens=100.0, cached_tokens=cached))
        for cached in (61.0, 63.0)
    ]
    comparison = Comparison()
    for done in (*burst, *paced, *turns):
        comparison.take("rewardd", done)
    comparison.take("naive", replace(run(5.0), name="turns"))

    rates, cached, work = comparison.table().split("\n\n")

    assert comparison.work_ratios("rewardd", "staggered") == pytest.approx([1.1, 1.25])
    # The rate at which texts were sent tells nothing of the server.
    assert "staggered" not in rates
    assert "| tokens not computed | turns |" in cached
    assert "| rewardd | 62% |" in cached
    assert "| naive | – |" in cached
    assert "| work (staggered ÷ burst) | staggered |" in work
    assert "| rewardd | 1.18×, 1.10–1.25 |" in work


def test_a_run_of_remembered_rewards_is_not_believed(comparison):
    comparison.runs["rewardd"]["grpo"][2] = replace(run(900.0), work=Work(kept_rewards=8.0))

    assert not comparison.is_clean
    assert "✗" in comparison.table()
    assert "**rewardd, grpo: 8 rewards were remembered" in comparison.table()
