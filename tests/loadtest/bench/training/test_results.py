import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtest.bench.training.results import Comparison, Interval, Run, resampled_mean
from loadtest.errors import LoadTestError

PROMPTS = [0, 0, 1, 2]


def run(trainer: str, seed: int, seconds: float, right: tuple[float, ...]) -> Run:
    return Run("pairs", trainer, seed, seconds, seconds / 10, 10, 1000, 600, 2**30, right)


MACHINE = {"processor": "2 × made up"}
FACTS = {"train_pairs": 40, "pair_prompts": PROMPTS}


def comparison(*runs: Run, **changes: Any) -> Comparison:
    found = Comparison(**{"settings": {"threads": 2}, "environment": MACHINE, **changes})
    found.take_workload("pairs", FACTS)
    for each in runs:
        found.take_run(each)
    return found


@pytest.fixture
def found() -> Comparison:
    return comparison(
        run("trl", 0, 100.0, (1, 1, 0, 0.5)),
        run("ours", 0, 25.0, (1, 1, 1, 0.5)),
        run("trl", 1, 90.0, (1, 0, 0, 1)),
        run("ours", 1, 30.0, (1, 0, 1, 1)),
    )


def test_time_is_compared_within_a_seed(found: Comparison):
    ratio = found.time_ratio("pairs", "ours", "trl")

    assert ratio is not None
    assert ratio.value == pytest.approx(math.sqrt(0.25 * 1 / 3))
    # ln(1/4) and ln(1/3): half a difference either side, t with one degree of freedom is 12.706
    half = 12.706 * abs(math.log(4 / 3)) / 2
    assert ratio.high == pytest.approx(ratio.value * math.exp(half), rel=1e-4)
    assert ratio.low == pytest.approx(ratio.value * math.exp(-half), rel=1e-4)


def test_one_seed_has_no_interval():
    one = comparison(run("trl", 0, 10, (1, 1, 1, 1)), run("ours", 0, 5, (1, 1, 1, 1)))

    ratio = one.time_ratio("pairs", "ours", "trl")

    assert ratio is not None
    assert ratio.show(".2f") == "0.50"
    assert one.time_ratio("pairs", "ours", "padded") is None


def test_accuracy_is_a_mean_of_seeds_and_its_gap_goes_pair_by_pair(found: Comparison):
    accuracy = found.accuracy("pairs", "ours")
    gap = found.accuracy_gap("pairs", "ours", "trl")

    assert accuracy.value == pytest.approx((3.5 + 3) / 8)
    assert gap is not None
    assert gap.value == pytest.approx(0.25)  # one pair of four, in both seeds
    assert gap.low == 0.0  # prompt 1 may not be drawn
    assert gap.high > 0.25


def test_equal_trainers_have_no_gap_at_all():
    values = np.zeros((3, 4))

    assert resampled_mean(values, np.array(PROMPTS)) == Interval(0, 0, 0)


def test_the_interval_covers_the_mean_about_as_often_as_it_says():
    random = np.random.default_rng(5)
    prompts = np.arange(200)
    hits = 0
    for _ in range(40):
        answers = (random.random(200) < 0.7).astype(float)
        found = resampled_mean(answers[None], prompts)
        hits += found.low <= 0.7 <= found.high

    assert hits >= 34  # of 40; fewer than one in a hundred times at 95 %


def test_runs_come_back_from_their_file_and_more_are_added(found: Comparison, tmp_path: Path):
    file = tmp_path / "r.json"
    file.write_text(json.dumps(found.to_json()))
    again = comparison(left_out={"trl": "no Python", "padded": "no time"})

    again.go_on_from(file)
    again.take_run(run("trl-grouped", 0, 70, (1, 1, 1, 1)))
    again.take_run(run("ours", 1, 29, (0, 0, 0, 0)))

    assert again.runs[:3] == found.runs[:3]
    assert [one.seconds for one in again.of("pairs", "ours")] == [25.0, 29]
    assert again.trainers("pairs") == ["ours", "trl", "trl-grouped"]
    assert again.left_out == {"padded": "no time"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"settings": {"threads": 1}}, "other settings"),
        ({"environment": {"processor": "another"}}, "other machine"),
    ],
)
def test_what_can_not_be_compared_is_not_taken_in(
    found: Comparison, changes: dict, said: str, tmp_path: Path
):
    (tmp_path / "r.json").write_text(json.dumps(found.to_json()))

    with pytest.raises(LoadTestError, match=said):
        comparison(**changes).go_on_from(tmp_path / "r.json")
    with pytest.raises(LoadTestError, match="has changed"):
        found.take_workload("pairs", {**FACTS, "train_pairs": 41})


def test_another_file_is_refused(tmp_path: Path):
    (tmp_path / "r.json").write_text('{"results": []}')

    with pytest.raises(LoadTestError, match="no result of `train`"):
        comparison().go_on_from(tmp_path / "r.json")


def test_the_table_has_a_row_a_trainer_and_says_who_is_missing(found: Comparison):
    found.left_out = {"trl-grouped": "no Python with TRL was named (--trl-python)"}

    text = found.tables()

    assert "| trl | 95.0 | 9.500 | 600 | 1024 | 0.562 (" in text
    assert "train_pairs: 40" in text
    assert "pair_prompts" not in text
    assert "**trl-grouped is left out: no Python with TRL was named (--trl-python)**" in text
    assert text.endswith("processor: 2 × made up")
