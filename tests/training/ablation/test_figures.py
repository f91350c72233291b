import numpy as np
import pytest

from tests.training.ablation.made_up import ablation, cell
from training.ablation.figures import ALL, GRADED, AblationTable


def test_an_accuracy_is_the_mean_over_seeds_and_pairs_with_ties_half() -> None:
    table = AblationTable.of(ablation([cell([1.0, -1.0, 0.0, 2.0]), cell([1.0, 1.0, 1.0, -1.0])]))

    found = table.rows[0].accuracy[ALL]

    assert found.value == pytest.approx((2.5 / 4 + 3 / 4) / 2)
    assert found.seed_std == pytest.approx(np.std([2.5 / 4, 3 / 4], ddof=1))
    assert (table.pairs[ALL], table.prompts, table.seeds) == (4, 4, 2)


def test_columns_are_the_grades_that_occur_from_strong_to_weak() -> None:
    grades = ["slightly_better", "significantly_better", "", "slightly_better"]
    table = AblationTable.of(ablation([cell([1.0, 1.0, -1.0, -1.0], strengths=grades)]))

    assert table.pairs == {"significantly_better": 1, "slightly_better": 2, GRADED: 3, ALL: 4}
    values = [figure.value for figure in table.rows[0].accuracy.values()]
    assert values == pytest.approx([1.0, 0.5, 2 / 3, 0.5])


def test_graded_pairs_have_a_column_of_their_own_only_where_it_says_something_new() -> None:
    def columns(*grades: str) -> list[str]:
        return list(AblationTable.of(ablation([cell([1.0, 1.0], strengths=grades)])).pairs)

    assert columns("better", "slightly_better") == ["better", "slightly_better", ALL]
    assert columns("better", "") == ["better", ALL]
    assert columns("", "") == [ALL]


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Credits are drawn from a known accuracy, with prompts and seeds that differ in difficulty."""
    generator = np.random.default_rng(0)
    covered = 0
    trials = 200
    for trial in range(trials):
        prompt = generator.normal(0, 1, size=(1, 80))
        seeds = generator.normal(0, 0.3, size=(4, 1))
        # By symmetry the accuracy over all prompts, seeds and noise is one half.
        gaps = prompt + seeds + generator.normal(0, 1, size=(4, 80))
        table = AblationTable.of(ablation([cell(row) for row in gaps]), seed=trial)
        interval = table.rows[0].accuracy[ALL].interval
        covered += interval.low <= 0.5 <= interval.high

    assert 0.90 * trials <= covered  # the method errs on the wide side


def test_a_difference_is_paired_and_so_narrower_than_its_parts() -> None:
    """Both rows fail on the same hard prompts, and the second on one easy prompt more."""
    gaps = np.where(np.arange(60) < 24, -1.0, 1.0)
    worse = np.where(np.arange(60) == 59, -1.0, gaps)
    table = AblationTable.of(ablation([cell(gaps)], [cell(worse)]))

    first, second = table.rows
    difference = second.difference[ALL]

    assert first.difference == {}
    assert difference.value == pytest.approx(-1 / 60)
    width = difference.interval.high - difference.interval.low
    alone = second.accuracy[ALL].interval
    assert width < 0.4 * (alone.high - alone.low)
    assert difference.interval.high == 0.0


def test_equal_rows_differ_by_nothing() -> None:
    gaps = [1.0, -1.0, 1.0, 1.0]
    table = AblationTable.of(ablation([cell(gaps)], [cell(gaps)]))

    found = table.rows[1].difference[ALL]

    assert (found.value, found.interval.low, found.interval.high) == (0.0, 0.0, 0.0)


def test_pairs_of_one_prompt_are_drawn_together() -> None:
    """Twenty copies of each of six prompts say no more than the six."""
    once = AblationTable.of(ablation([cell([1.0, 1.0, 1.0, -1.0, -1.0, 1.0])]))
    prompts = [f"p{index}" for index in range(6) for _ in range(20)]
    gaps = np.repeat([1.0, 1.0, 1.0, -1.0, -1.0, 1.0], 20)
    copied = AblationTable.of(ablation([cell(gaps, prompts=prompts)]))

    assert copied.rows[0].accuracy[ALL] == once.rows[0].accuracy[ALL]


def test_seeds_that_disagree_widen_the_interval() -> None:
    agreeing = AblationTable.of(ablation([cell([1.0, -1.0] * 200), cell([1.0, -1.0] * 200)]))
    disagreeing = AblationTable.of(ablation([cell([1.0] * 400), cell([-1.0] * 400)]))

    widths = [
        table.rows[0].accuracy[ALL].interval.high - table.rows[0].accuracy[ALL].interval.low
        for table in (agreeing, disagreeing)
    ]

    assert widths[0] < 0.15
    assert widths[1] == 1.0
