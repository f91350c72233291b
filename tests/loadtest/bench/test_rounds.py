import json
import math

import pytest

from loadtest.bench.rounds import Rounds, Timing, largest_error, run_rounds
from loadtest.errors import LoadTestError


class Scripted:
    def __init__(self, name, log, rewards):
        self.name, self._log, self._rewards = name, log, rewards

    def run(self):
        self._log.append(self.name)
        return self._rewards


TRUTH = {"safety": [1.0, 2.0]}


def test_ways_take_turns_and_the_first_round_does_not_count():
    log = []
    strategies = [Scripted(name, log, {}) for name in "abc"]

    timings = run_rounds(lambda _: (strategies, TRUTH), rounds=2)

    assert log == [*"abc", *"bca", *"cab"]
    assert [len(timings[name].seconds) for name in "abc"] == [2, 2, 2]


def test_every_round_has_strategies_and_a_truth_of_its_own():
    def make(number):
        rewards = {"safety": [float(number)]}
        return [Scripted("ours", log, rewards)], rewards

    log = []
    timings = run_rounds(make, rounds=2)

    assert timings["ours"].max_error == 0.0
    assert log == ["ours"] * 3


def test_every_reward_is_held_against_the_truth():
    strategies = [
        Scripted("right", [], {"safety": [1.0, 2.0 + 1e-6]}),
        Scripted("wrong", [], {"safety": [1.0, 2.5]}),
        Scripted("nan", [], {"safety": [1.0, math.nan]}),
        Scripted("limit", [], {}),
    ]

    timings = run_rounds(lambda _: (strategies, TRUTH), rounds=1)
    rounds = Rounds("t", 2, "right", timings, tolerance=1e-4)

    assert timings["right"].max_error == pytest.approx(1e-6, rel=1e-3)
    assert rounds.wrong() == ["wrong", "nan"]
    assert "**wrong: rewards differ from each text alone**" in rounds.table()
    assert timings["limit"].max_error is None


def test_errors_are_compared_by_role():
    truth = {"safety": [0.0], "helpfulness": [5.0]}

    assert largest_error({"helpfulness": [5.5]}, truth) == 0.5
    with pytest.raises(ValueError, match="zip"):
        largest_error({"safety": []}, truth)


def test_ratios_are_taken_within_a_round_and_then_their_median():
    timings = {"ours": Timing([1.0, 2.0, 1.0]), "naive": Timing([3.0, 4.0, 9.0], max_error=0.0)}
    rounds = Rounds("grpo", 64, "ours", timings, 1e-4, {"tokens": 7})

    assert rounds.ratios("naive") == [3.0, 2.0, 9.0]
    assert "| naive | 4.000 | 16.0 | 3.00× (2.00–9.00) | 0.0e+00 |" in rounds.table()
    assert "tokens: 7" in rounds.table()
    found = rounds.to_json()
    assert json.loads(json.dumps(found))["strategies"]["naive"]["median_ratio"] == 3.0


def test_no_rounds_are_refused():
    with pytest.raises(LoadTestError, match="round"):
        run_rounds(lambda _: ([], TRUTH), rounds=0)
