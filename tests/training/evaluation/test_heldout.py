import pytest

from training.data.examples import EncodedExample, Pair, StepTarget
from training.evaluation.heldout import heldout_figures
from training.evaluation.tables.heldout import sentences


def example(key: str, *, count: int = 2, **known: object) -> EncodedExample:
    return EncodedExample(key, key, key, ("x",) * count, **known)  # type: ignore[arg-type]


PAIR = example("pair", pairs=(Pair(0, 1),))
RATED = example("rated", count=3, ratings=(1.0, None, 3.0))
STEPPED = example("stepped", step_targets=((StepTarget(1, 1.0), StepTarget(2, 0.0)), ()))


def test_figures_of_pairs_are_those_of_the_pairs_alone() -> None:
    figures = heldout_figures([PAIR, RATED], [(1.0, 0.0), (0.0, 9.0, 0.0)])
    assert figures.pairs.accuracy == heldout_figures([PAIR], [(1.0, 0.0)]).pairs.accuracy
    assert (figures.prompts, figures.responses) == (2, 5)
    assert figures.reward_mean == 2.0


def test_ratings_are_met_by_their_squared_error_and_their_order() -> None:
    figures = heldout_figures([RATED], [(2.0, 50.0, 2.5)])
    assert figures.pairs is None
    assert figures.ratings.responses == 2
    assert figures.ratings.mean_squared_error == pytest.approx((1 + 0.25) / 2)
    assert figures.ratings.variance == pytest.approx(1.0)
    assert figures.ratings.spearman == pytest.approx(1.0)
    constant = heldout_figures([RATED], [(2.0, 0.0, 2.0)]).ratings
    assert constant.spearman is None


def test_steps_are_judged_by_the_side_of_one_half_that_their_score_falls_on() -> None:
    figures = heldout_figures([STEPPED, PAIR], [(0, 0), (0, 0)], [((2.0, 1.0), ()), ()])
    assert figures.steps.steps.at_half.accuracy.value == 0.5
    assert figures.ratings is None
    assert any("50.0%" in line for line in sentences(figures))


def test_what_the_data_do_not_tell_is_left_out() -> None:
    figures = heldout_figures([example("bare")], [(1.0, 2.0)])
    assert (figures.pairs, figures.ratings, figures.steps) == (None, None, None)
    assert sentences(figures) == []
