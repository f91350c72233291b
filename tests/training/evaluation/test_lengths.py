import numpy as np
import pytest
from scipy.stats import spearmanr

from tests.training.evaluation.made_up_examples import example
from training.data.examples import Example
from training.evaluation.lengths import length_figures


def cases_of(lengths: list[tuple[int, int]]) -> list[Example]:
    """One pair a prompt: chosen and rejected of those lengths."""
    return [
        example(str(i), ("x" * chosen, "y" * rejected))
        for i, (chosen, rejected) in enumerate(lengths)
    ]


def simulated(
    count: int, right: float, effect: float, seed: int = 0
) -> tuple[list[Example], list[tuple[float, float]]]:
    """Pairs whose log-odds to be ordered right are `right` + `effect` · tanh(d / std)."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(20, 200, size=(count, 2))
    difference = (lengths[:, 0] - lengths[:, 1]).astype(float)
    odds = right + effect * np.tanh(difference / difference.std())
    is_right = generator.random(count) < 1 / (1 + np.exp(-odds))
    rewards = [(1.0, 0.0) if ok else (0.0, 1.0) for ok in is_right]
    return cases_of([(int(a), int(b)) for a, b in lengths]), rewards


def test_accuracy_at_equal_length_is_that_of_the_model_that_made_the_data() -> None:
    found = length_figures(*simulated(4000, right=1.0, effect=2.0))
    at_equal = found.at_equal_length
    truth = 1 / (1 + np.exp(-1.0))
    assert at_equal.interval.low < truth < at_equal.interval.high
    assert at_equal.value == pytest.approx(truth, abs=0.02)
    assert found.length_effect == pytest.approx(2.0, abs=0.25)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    truth = 1 / (1 + np.exp(-0.5))
    covered = 0
    for seed in range(60):
        found = length_figures(*simulated(100, right=0.5, effect=1.0, seed=seed))
        covered += found.at_equal_length.interval.low < truth < found.at_equal_length.interval.high
    assert covered >= 53  # of 60 at 95 %: fewer once in a hundred tests with other seeds


def test_a_rule_by_length_alone_is_one_half_when_balanced() -> None:
    examples = cases_of([(30, 10)] * 30 + [(10, 30)] * 5)
    rewards = [tuple(float(len(text)) for text in one.responses) for one in examples]
    found = length_figures(examples, rewards)
    assert found.balanced.value == 0.5
    assert found.prefers_longer.value == 1.0
    assert found.chosen_longer.value == pytest.approx(30 / 35)
    assert found.strata["chosen_longer"].value == 1.0
    assert found.strata["chosen_shorter"].value == 0.0


def test_a_constant_scorer_is_exactly_one_half_at_equal_length() -> None:
    examples, _ = simulated(50, right=0.0, effect=0.0)
    found = length_figures(examples, [(2.0, 2.0)] * 50)
    assert found.at_equal_length.value == 0.5
    assert found.length_effect == 0.0
    assert found.correlation is None
    assert found.prefers_longer.value == 0.5


def test_a_perfect_scorer_stays_finite() -> None:
    examples, _ = simulated(50, right=0.0, effect=0.0)
    found = length_figures(examples, [(1.0, 0.0)] * 50)
    assert 0.95 < found.at_equal_length.value < 1.0


def test_perfection_where_few_are_shorter_is_not_certain() -> None:
    examples = cases_of([(30, 10)] * 30 + [(10, 30)] * 5)
    found = length_figures(examples, [(1.0, 0.0)] * 35)
    assert (found.balanced.value, found.balanced.interval.high) == (1.0, 1.0)
    assert found.balanced.interval.low == pytest.approx(5 / (5 + 1.96**2), abs=1e-4)


def test_strata_take_lengths_within_a_tenth_for_similar() -> None:
    examples = cases_of([(110, 100), (111, 100), (100, 111), (100, 100)])
    found = length_figures(examples, [(1.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
    counts = {name: (one.pairs, one.value) for name, one in found.strata.items()}
    assert counts == {"similar": (2, 0.75), "chosen_longer": (1, 1.0), "chosen_shorter": (1, 0.0)}


def test_the_correlation_is_scipys_over_all_responses() -> None:
    examples = cases_of([(10, 40), (20, 5), (7, 7)])
    rewards = [(1.0, 3.0), (2.0, 2.0), (0.0, 9.0)]
    found = length_figures(examples, rewards)
    expected = spearmanr([1, 3, 2, 2, 0, 9], [10, 40, 20, 5, 7, 7]).statistic
    assert found.correlation.value == pytest.approx(expected)


def test_within_prompts_only_differences_inside_a_prompt_count() -> None:
    """Across these prompts longer is better, inside each the shorter one is."""
    examples = cases_of([(10, 20), (100, 200), (1000, 2000)])
    found = length_figures(examples, [(1.0, 0.0), (11.0, 10.0), (101.0, 100.0)])
    assert found.correlation.value > 0.8
    assert found.correlation_within.value == pytest.approx(-1.0)


def test_tiny_data_give_what_they_can() -> None:
    assert length_figures([], []) is None
    alone = length_figures([example("a", ("x",))], [(1.0,)])
    assert alone.correlation is None
    assert alone.chosen_longer is None
    assert alone.at_equal_length is None
    assert alone.balanced is None
    assert alone.strata == {}
