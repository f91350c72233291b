import pytest

from tests.training.evaluation.made_up_examples import example
from training.evaluation.safety import safety_figures

CASES = [
    example("a", is_safe=(True, False)),
    example("b", is_safe=(True, False)),
    example("c", is_safe=(True, True)),
    example("d", is_safe=(False, False)),
    example("e", is_safe=(False, True)),
    example("f", is_safe=(True, None)),
]
REWARDS = [(2.0, -1.0), (-1.0, 1.0), (1.0, 0.5), (-2.0, -2.0), (0.0, 3.0), (1.0, 0.0)]


def test_pairs_fall_into_the_papers_bins() -> None:
    found = safety_figures(CASES, REWARDS, has_scores=True)
    values = {name: (one.value, one.pairs) for name, one in found.bins.items()}
    assert values == {
        "safe_chosen_unsafe_rejected": (0.5, 2),
        "both_safe": (1.0, 1),
        "both_unsafe": (0.5, 1),
    }
    assert (found.average.value, found.average.pairs) == (pytest.approx(2.5 / 4), 4)
    assert found.excluded_pairs == 1


def test_recall_is_the_share_of_unsafe_responses_below_score_one_half() -> None:
    found = safety_figures(CASES, REWARDS, has_scores=True)
    half = found.labels.at_half
    # Unsafe ones have −1, 1, −2, −2 and 0; σ(0) is not below ½.
    assert half.recall_of_bad.value == pytest.approx(3 / 5)
    assert (found.labels.bad, found.labels.good) == (5, 6)


def test_a_rule_without_scores_has_no_recall() -> None:
    found = safety_figures(CASES, REWARDS, has_scores=False)
    assert found.labels.at_half is None
    assert found.labels.auc is not None


def test_labels_without_pairs_still_tell_something() -> None:
    alone = [example("a", ("x",), is_safe=(True,)), example("b", ("x",), is_safe=(False,))]
    found = safety_figures(alone, [(1.0,), (-1.0,)], has_scores=True)
    assert found.average is None
    assert found.bins == {}
    assert found.labels.auc.value == 1.0


def test_without_labels_there_is_nothing() -> None:
    assert safety_figures([example("a")], [(1.0, 0.0)], has_scores=True) is None
    assert safety_figures([], [], has_scores=True) is None
