"""Known temperatures are found again; degenerate data give the identity or a bounded one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rm_core.rewards import Calibration, calibrate
from tests.training.calibration.made_up import drawn, of_labels, of_pairs
from training.calibration.fitting import (
    TEMPERATURE_BOUNDS,
    crossfitted,
    fit_calibration,
    prompt_folds,
)
from training.calibration.observations import Observations
from training.types import CalibrationMethod

T, B = 2.0, -0.5


@pytest.mark.parametrize("method", ["labels", "pairs"])
def test_known_temperature_and_bias_are_found_within_their_standard_errors(
    method: CalibrationMethod,
) -> None:
    """Over forty draws the misses must look like the standard errors say: z with deviation 1."""
    misses = []
    for seed in range(40):
        fit = fit_calibration(drawn(temperature=T, bias=B, seed=seed), "safety", method)
        assert fit.method == method
        temperature, bias = fit.calibration
        misses.append([(temperature - T) / fit.temperature_standard_error])
        if method == "labels":
            misses[-1].append((bias - B) / fit.bias_standard_error)

    means, spreads = np.mean(misses, axis=0), np.std(misses, axis=0)
    assert (np.abs(means) < 3 / 40**0.5 + 0.1).all()  # Platt's prior pulls by less than 0.1
    assert ((spreads > 0.6) & (spreads < 1.4)).all()
    assert np.max(np.abs(misses)) < 4


def test_labels_are_for_the_safety_role_and_pairs_for_the_other() -> None:
    data = drawn()

    assert fit_calibration(data, "safety").method == "labels"
    helpfulness = fit_calibration(data, "helpfulness")
    assert (helpfulness.method, helpfulness.calibration.bias) == ("pairs", 0.0)
    assert fit_calibration(data, "safety", "none").calibration == Calibration()


def test_pairs_minimise_the_bradley_terry_likelihood() -> None:
    """The best of a fine grid of temperatures, by brute force."""
    data = drawn(prompts=300)
    n = len(data.pairs.gap)
    won, lost = (n + 1) / (n + 2), 1 / (n + 2)
    grid = np.linspace(0.5, 6.0, 5501)
    z = data.pairs.gap[:, None] / grid
    loss = (won * np.logaddexp(0, -z) + lost * np.logaddexp(0, z)).mean(axis=0)

    fit = fit_calibration(data, "helpfulness")

    assert fit.calibration.temperature == pytest.approx(grid[loss.argmin()], abs=1.1e-3)


@given(scale=st.floats(min_value=0.05, max_value=20), shift=st.floats(min_value=-9, max_value=9))
@settings(max_examples=25, deadline=None)
def test_another_unit_of_reward_gives_the_same_scores(scale: float, shift: float) -> None:
    data = drawn(prompts=100)
    reward = data.labels.reward
    moved = of_labels((reward * scale + shift).tolist(), data.labels.is_safe.tolist())
    same = of_labels(reward.tolist(), data.labels.is_safe.tolist())

    one, other = fit_calibration(same, "safety"), fit_calibration(moved, "safety")

    np.testing.assert_allclose(
        calibrate(moved.labels.reward, other.calibration),
        calibrate(reward, one.calibration),
        atol=1e-4,
    )


def test_perfectly_ordered_pairs_get_a_temperature_above_zero() -> None:
    """Gaps of 1: Platt's prior sets σ(1/T) = (N+1)/(N+2), so T = 1/ln(N+1)."""
    fit = fit_calibration(of_pairs([1.0] * 100), "helpfulness")

    assert fit.method == "pairs"
    assert fit.calibration.temperature == pytest.approx(1 / np.log(101), rel=1e-6)
    assert "Platt's prior alone" in fit.how


def test_perfectly_separated_labels_get_a_temperature_above_zero() -> None:
    rewards = [2.0] * 40 + [-2.0] * 40

    fit = fit_calibration(of_labels(rewards, [True] * 40 + [False] * 40), "safety")

    assert fit.method == "labels"
    # σ(2/T) = 41/42 on the safe side, 1/42 on the other
    assert fit.calibration.temperature == pytest.approx(2 / np.log(41), rel=1e-6)
    assert fit.calibration.bias == pytest.approx(0.0, abs=1e-6)
    assert "perfectly" in fit.how


NO_TEMPERATURE = {
    "constant": (of_pairs([0.0] * 100), "equal"),
    "few pairs": (of_pairs([1.0] * 49), "at least 50"),
    "one prompt": (of_pairs([1.0] * 100, [0] * 100), "20 prompts are needed"),
    "chance": (of_pairs([1.0, -1.0] * 50), "beyond chance"),
    "luck": (of_pairs([1.0] * 55 + [-1.0] * 45), "beyond chance"),
    "reversed": (of_pairs([-1.0] * 100), "beyond chance"),
    "tiny": (of_pairs([1e-6] * 100), "outside"),
    "huge": (of_pairs([1e6] * 100), "outside"),
    "constant labels": (of_labels([1.0] * 80, [True, False] * 40), "same reward"),
    "one class": (of_labels([1.0] * 80, [True] * 80), "80 safe and 0 unsafe"),
    "few of one class": (
        of_labels([2.0] * 19 + [-2.0] * 60, [True] * 19 + [False] * 60),
        "19 safe",
    ),
    "reversed labels": (
        of_labels([-2.0] * 40 + [2.0] * 40, [True] * 40 + [False] * 40),
        "beyond chance",
    ),
    "lucky labels": (
        of_labels(
            [1.0] * 40 + [-1.0] * 40,
            [True] * 22 + [False] * 18 + [True] * 18 + [False] * 22,
        ),
        "beyond chance",
    ),
}


@pytest.mark.parametrize(("data", "reason"), NO_TEMPERATURE.values(), ids=NO_TEMPERATURE)
def test_data_that_tell_no_temperature_give_the_identity_and_say_why(
    data: Observations, reason: str
) -> None:
    fit = fit_calibration(data, "safety" if len(data.labels.reward) else "helpfulness")

    assert (fit.calibration, fit.method) == (Calibration(), "none")
    assert reason in fit.how


def test_a_safety_model_without_labels_falls_back_to_pairs_and_says_so() -> None:
    fit = fit_calibration(of_pairs([1.0] * 60 + [-1.0] * 20), "safety")

    assert fit.method == "pairs"
    # three of four gaps of 1 are won; with Platt's target 81/82 in place of 1 the best σ(1/T) is
    # 1/4 + 81/82 · 1/2, not 3/4
    won = 0.25 + 81 / 82 / 2
    assert fit.calibration.temperature == pytest.approx(1 / np.log(won / (1 - won)), rel=1e-6)
    assert "not by is_safe labels" in fit.how


@given(
    gaps=st.lists(st.floats(min_value=-1e6, max_value=1e6), min_size=1, max_size=80),
)
@settings(max_examples=60, deadline=None)
def test_whatever_the_pairs_the_temperature_stays_within_its_bounds(gaps: list[float]) -> None:
    temperature, bias = fit_calibration(of_pairs(gaps), "helpfulness").calibration

    assert TEMPERATURE_BOUNDS[0] <= temperature <= TEMPERATURE_BOUNDS[1]
    assert bias == 0.0


def test_folds_hold_every_prompt_exactly_once() -> None:
    folds = prompt_folds(13, folds=5, seed=3)

    assert sum(fold.astype(int) for fold in folds).tolist() == [1] * 13
    assert sorted(int(fold.sum()) for fold in folds) == [2, 2, 3, 3, 3]
    assert len(prompt_folds(3, folds=5, seed=0)) == 3


def test_a_prompt_is_never_calibrated_by_its_own_data() -> None:
    """Its own outcome, however extreme, leaves its own calibrated gap as it is."""
    one, other = drawn(prompts=60), drawn(prompts=60)
    other.pairs.gap[other.pairs.prompt == 7] *= -1.0

    before, _ = crossfitted(one, "pairs", folds=5, seed=0)
    after, _ = crossfitted(other, "pairs", folds=5, seed=0)

    changed = ~np.isclose(np.abs(before), np.abs(after), rtol=1e-9)
    held = next(fold for fold in prompt_folds(60, folds=5, seed=0) if fold[7])
    assert not changed[held[one.pairs.prompt]].any()
    assert changed[~held[one.pairs.prompt]].all()


def test_a_crossfit_of_the_identity_changes_nothing() -> None:
    data = drawn(prompts=40)

    gaps, rewards = crossfitted(data, "none", folds=5, seed=0)

    assert gaps.tolist() == data.pairs.gap.tolist()
    assert rewards.tolist() == data.labels.reward.tolist()
