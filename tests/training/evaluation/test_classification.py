import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from training.evaluation.classification import discrimination

LABELLED = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({label for _, label in rows}) == 2
)


@given(LABELLED)
def test_the_auc_is_scikit_learns_with_ties_half(rows: list[tuple[int, bool]]) -> None:
    rewards = np.array([reward for reward, _ in rows], dtype=float)
    is_good = np.array([label for _, label in rows])
    found = discrimination(rewards, is_good, ["one prompt"] * len(rows), has_scores=False)
    assert found.auc.value == pytest.approx(roc_auc_score(is_good, rewards))


def test_the_aucs_interval_holds_the_auc_of_every_other_sample() -> None:
    generator = np.random.default_rng(0)
    is_good = np.arange(400) % 2 == 0
    rewards = generator.normal(size=400) + is_good
    found = discrimination(rewards, is_good, [str(i) for i in range(400)], has_scores=True)
    # Hanley and McNeil, Radiology 143 (1982): the standard error of an AUC of 0.76 with 200 + 200.
    area = found.auc.value
    q1, q2 = area / (2 - area), 2 * area * area / (1 + area)
    spread = area * (1 - area) + 199 * (q1 - area**2) + 199 * (q2 - area**2)
    error = np.sqrt(spread / 200**2)
    width = found.auc.interval.high - found.auc.interval.low
    assert width == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_decisions_at_half_are_those_counted_by_hand() -> None:
    rewards = np.array([1.0, -1.0, 0.0, -2.0, 3.0])
    is_good = np.array([True, True, True, False, False])
    found = discrimination(rewards, is_good, list("abcde"), has_scores=True)
    half = found.at_half
    assert half.accuracy.value == pytest.approx(3 / 5)  # reward 0 is score 0.5: not below it
    assert half.recall_of_bad.value == pytest.approx(1 / 2)
    assert half.false_alarms.value == pytest.approx(1 / 3)
    assert half.precision_of_bad.value == pytest.approx(1 / 2)
    assert half.flagged.value == pytest.approx(2 / 5)
    assert (found.good, found.bad, found.majority) == (3, 2, 3 / 5)


def test_a_constant_scorer_has_an_auc_of_exactly_one_half() -> None:
    is_good = np.arange(10) % 3 == 0
    found = discrimination(np.zeros(10), is_good, [str(i) for i in range(10)], has_scores=False)
    assert found.at_half is None
    assert found.auc.value == 0.5
    assert found.auc.interval.low == found.auc.interval.high == 0.5


def test_what_the_labels_do_not_tell_is_absent() -> None:
    assert discrimination(np.array([]), np.array([], dtype=bool), [], has_scores=True) is None
    one_class = discrimination(np.array([1.0]), np.array([True]), ["a"], has_scores=True)
    assert one_class.auc is None
    assert one_class.at_half.recall_of_bad is None
    assert one_class.at_half.precision_of_bad is None
    assert one_class.at_half.accuracy.interval is None


def test_a_perfect_auc_is_no_surer_than_the_rarer_class_is_large() -> None:
    is_good = np.arange(40) >= 4
    keys = [str(index) for index in range(40)]
    found = discrimination(np.where(is_good, 1.0, -1.0), is_good, keys, has_scores=True)
    assert (found.auc.value, found.auc.interval.high) == (1.0, 1.0)
    assert found.auc.interval.low == pytest.approx(4 / (4 + 1.96**2), abs=1e-4)
    assert found.at_half.recall_of_bad.interval.low == pytest.approx(found.auc.interval.low)
    assert found.at_half.false_alarms.interval.high == pytest.approx(1 - 36 / (36 + 1.96**2), 1e-3)
