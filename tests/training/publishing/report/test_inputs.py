"""Held-out rewards as arrays that plots draw."""

import numpy as np

from tests.training.publishing.report.made_up_inputs import comparisons, report_inputs, usual_inputs
from training.publishing.report.inputs import drawn_indices


def test_pairs_have_the_rewards_of_their_responses() -> None:
    made, rewards = comparisons(10)
    given = report_inputs(made, rewards)

    gaps = [
        own[pair.chosen] - own[pair.rejected]
        for one, own in zip(made, rewards, strict=True)
        for pair in one.pairs
    ]

    assert given.pairs.gap.tolist() == gaps
    assert np.isclose(given.pairs.gap.mean(), given.figures.pairs.margin_mean)


def test_every_graded_pair_is_in_its_grade_and_no_other() -> None:
    given = usual_inputs()
    by_strength = given.pairs.gaps_by_strength()

    pairs = given.figures.pairs
    assert {grade: len(gaps) for grade, gaps in by_strength.items()} == {
        grade: accuracy.pairs for grade, accuracy in pairs.by_strength.items()
    }
    assert list(by_strength) == list(pairs.by_strength)


def test_responses_stand_once_each_with_their_length() -> None:
    made, rewards = comparisons(10)
    values, lengths = report_inputs(made, rewards).responses

    assert values.tolist() == [reward for own in rewards for reward in own]
    assert lengths.tolist() == [len(text) for one in made for text in one.responses]


def test_the_best_baseline_is_the_most_accurate() -> None:
    given = usual_inputs()
    best = given.best_baseline

    assert best[1].value == max(found.value for found in given.baselines.values())


def test_a_sample_is_drawn_only_where_not_all_fit() -> None:
    assert drawn_indices(5, 5, seed=0).tolist() == [0, 1, 2, 3, 4]
    drawn = drawn_indices(1000, 10, seed=0).tolist()
    assert len(set(drawn)) == 10
    assert drawn == sorted(drawn)
    assert drawn == drawn_indices(1000, 10, seed=0).tolist()
    assert drawn != drawn_indices(1000, 10, seed=1).tolist()
