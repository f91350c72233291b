import numpy as np
import pytest

from tests.training.evaluation.made_up_examples import example
from training.evaluation.robustness import perturbation_figures


def test_flips_and_shifts_are_those_counted_by_hand() -> None:
    examples = [example("a"), example("b"), example("c"), example("d")]
    rewards = [(2.0, 1.0), (0.0, 1.0), (1.0, 1.0), (3.0, 0.0)]
    changed = [(1.0, 2.0), (0.0, 1.5), (2.0, 1.0), (3.0, 1.0)]
    found = perturbation_figures(examples, rewards, changed)
    # Flipped, kept, no longer a tie (half), kept.
    assert found.flipped.value == pytest.approx((1 + 0 + 0.5 + 0) / 4)
    assert found.shift.value == pytest.approx(np.mean([-1, 1, 0, 0.5, 1, 0, 0, 1]))
    flat = [reward for given in rewards for reward in given]
    assert found.shift_in_stds == pytest.approx(found.shift.value / np.std(flat))
    # Alone perturbed: a's loser gets 2 against 2 (a tie, half), b's 0 against 1, d's 1 against 3.
    assert (found.overturned.value, found.overturned.count) == (pytest.approx(0.5 / 3), 3)
    assert found.accuracy_before.value == pytest.approx(2.5 / 4)
    assert found.accuracy.value == pytest.approx(2 / 4)


def test_what_is_left_unchanged_counts_nowhere() -> None:
    examples = [example("a"), example("b")]
    found = perturbation_figures(examples, [(2.0, 1.0), (1.0, 0.0)], [(None, None), (None, 3.0)])
    assert (found.shift.value, found.shift.count) == (3.0, 1)
    assert (found.flipped.value, found.flipped.count) == (1.0, 1)
    assert found.overturned.value == 1.0


def test_a_constant_scorer_neither_flips_nor_shifts() -> None:
    examples = [example("a"), example("b")]
    found = perturbation_figures(examples, [(1.0, 1.0)] * 2, [(1.0, 1.0)] * 2)
    assert found.flipped.value == 0.0
    assert found.overturned is None
    assert found.shift_in_stds is None
    assert (found.accuracy.value, found.accuracy.ties) == (0.5, 2)


def test_nothing_perturbed_gives_absent_figures() -> None:
    found = perturbation_figures([example("a", ("x",))], [(1.0,)], [(None,)])
    assert found.shift is None
    assert found.flipped is None
    assert found.accuracy is None
