"""Calibration errors worked out by hand, and forecasts that are right by construction."""

import math

import numpy as np
import pytest
from scipy.special import logit
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from tests.training.calibration.made_up import drawn
from training.calibration.reliability import (
    equal_mass_bins,
    equal_width_bins,
    expected_calibration_error,
    label_reliability,
    pair_reliability,
)


def test_the_error_of_two_bins_by_hand() -> None:
    """Bin 0: mean 0.2, half true, 2 of 5. Bin 1: mean 0.9, two of three, 3 of 5."""
    probability = np.array([0.1, 0.3, 0.85, 0.9, 0.95])
    came_true = np.array([0.0, 1.0, 1.0, 1.0, 0.0])

    error = expected_calibration_error(probability, came_true, np.array([0, 0, 1, 1, 1]))

    assert error == pytest.approx(2 / 5 * 0.3 + 3 / 5 * (0.9 - 2 / 3))


def test_forty_labels_by_hand() -> None:
    """Twenty at P = 0.2 of which 8 are safe, twenty at 0.8 of which 18 are: two bins of 20."""
    reward = logit(np.repeat([0.2, 0.8], 20))
    is_safe = np.array([True] * 8 + [False] * 12 + [True] * 18 + [False] * 2)

    found = label_reliability(reward, is_safe)

    assert found.ece == pytest.approx((0.2 + 0.1) / 2)
    assert found.ece_equal_width == pytest.approx((0.2 + 0.1) / 2)
    assert [(b.predicted, b.observed, b.count) for b in found.bins] == [
        (pytest.approx(0.2), 0.4, 20),
        (pytest.approx(0.8), 0.9, 20),
    ]
    brier = (8 * 0.64 + 12 * 0.04 + 18 * 0.04 + 2 * 0.64) / 40
    assert found.brier == pytest.approx(brier)
    nll = -(8 * math.log(0.2) + 12 * math.log(0.8) + 18 * math.log(0.8) + 2 * math.log(0.2)) / 40
    assert found.nll == pytest.approx(nll)


def test_pairs_by_hand_whichever_way_the_winner_is_written() -> None:
    """σ(ln 3) = 3/4 for all: thirty of forty in order, so nothing is wrong with them."""
    gap = np.full(40, math.log(3)) * np.where(np.arange(40) < 30, 1, -1)

    found = pair_reliability(gap)

    assert found.ece == pytest.approx(0.0, abs=1e-12)
    assert [(b.predicted, b.observed, b.count) for b in found.bins] == [
        (pytest.approx(0.75), 0.75, 40)
    ]
    assert found.brier == pytest.approx((30 / 16 + 10 * 9 / 16) / 40)
    assert found.nll == pytest.approx(-(30 * math.log(0.75) + 10 * math.log(0.25)) / 40)


def test_a_constant_scorer_is_undecided_and_not_right() -> None:
    found = pair_reliability(np.zeros(50))

    assert (found.ece, found.brier) == (0.0, 0.25)
    assert found.nll == pytest.approx(math.log(2))


def test_figures_agree_with_scikit_learns() -> None:
    labels = drawn(prompts=300).labels
    probability = 1 / (1 + np.exp(-labels.reward))

    found = label_reliability(labels.reward, labels.is_safe)

    assert found.brier == pytest.approx(brier_score_loss(labels.is_safe, probability))
    assert found.nll == pytest.approx(log_loss(labels.is_safe, probability))
    for strategy, bins in (("quantile", found.bins), ("uniform", found.bins_equal_width)):
        observed, predicted = calibration_curve(
            labels.is_safe, probability, n_bins=15, strategy=strategy
        )
        np.testing.assert_allclose([b.observed for b in bins], observed, atol=1e-12)
        np.testing.assert_allclose([b.predicted for b in bins], predicted, atol=1e-12)


def test_outcomes_drawn_from_the_forecast_have_no_more_error_than_chance_gives() -> None:
    right = drawn(temperature=1.0, bias=0.0, prompts=1000)
    wrong = drawn(temperature=3.0, bias=0.0, prompts=1000)

    for data in (right, wrong):
        found = label_reliability(data.labels.reward, data.labels.is_safe)
        assert (found.ece < 2 * found.ece_if_calibrated) == (data is right)


def test_equal_probabilities_share_a_bin_whatever_their_order() -> None:
    probability = np.array([0.5] * 70 + [0.9] * 30)

    bins = equal_mass_bins(probability)

    assert len(set(bins[:70])) == 1
    assert len(set(bins)) == 2
    assert equal_mass_bins(probability[::-1]).tolist() == bins[::-1].tolist()


def test_bins_of_equal_width_span_what_can_occur() -> None:
    ends = np.array([0.5, 0.5333, 0.5334, 1.0])

    assert equal_width_bins(ends, lowest=0.5).tolist() == [0, 0, 1, 14]
    assert equal_width_bins(np.array([0.0, 1.0]), lowest=0.0).tolist() == [0, 14]


def test_hostile_rewards_stay_finite_and_nothing_gives_nothing() -> None:
    found = label_reliability(np.array([1e4, -1e4]), np.array([False, True]))

    assert (found.nll, found.brier) == (1e4, 1.0)
    assert label_reliability(np.zeros(0), np.zeros(0, dtype=bool)) is None
    assert pair_reliability(np.zeros(0)) is None
