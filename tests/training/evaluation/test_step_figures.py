import pytest

from training.evaluation.step_figures import ReadSteps, step_figures


def test_steps_are_judged_one_by_one_and_by_their_first_error() -> None:
    responses = [
        ReadSteps("a", (1, 1, 0), (2.0, 1.0, -1.0)),  # the first error is found
        ReadSteps("b", (1, 0), (-1.0, -2.0)),  # found one step too early
        ReadSteps("c", (1, 1), (1.0, 3.0)),  # there is none, and none is found
        ReadSteps("d", (0.5, 0), (1.0, 4.0)),  # a doubt, and an error that is not found
    ]
    found = step_figures(responses, has_scores=True)
    assert (found.steps.good, found.steps.bad) == (5, 3)
    assert found.steps.at_half.accuracy.value == pytest.approx(6 / 8)
    assert found.first_error.value == pytest.approx(2 / 4)
    # Good: 2, 1, −1, 1, 3. Bad: −1, −2, 4. Of 15 pairs 9 are in order and one is a tie.
    assert found.steps.auc.value == pytest.approx(9.5 / 15)


def test_a_rule_without_scores_has_an_auc_alone() -> None:
    found = step_figures([ReadSteps("a", (1, 0), (5.0, 9.0))], has_scores=False)
    assert found.steps.auc.value == 0.0
    assert found.first_error is None


def test_no_step_or_only_doubts_give_nothing() -> None:
    assert step_figures([], has_scores=True) is None
    assert step_figures([ReadSteps("a", (0.5,), (1.0,))], has_scores=True) is None
