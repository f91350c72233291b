"""PSI by hand and by simulation, a window that forgets, and gauges that cost nothing unasked."""

import math
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from rm_core.types import ModelProfile, ReferenceQuantiles
from service.observability.drift import DriftWindow, RewardDrift

QUARTILES = ReferenceQuantiles((0.25, 0.5, 0.75), (-1.0, 0.0, 1.0), 1000)
PROFILE = ModelProfile("safety", "n", "d", None, 512, reference_quantiles=QUARTILES)
DECILES = tuple(round(0.1 * k, 1) for k in range(1, 10))


def normal_references(count: int, seed: int) -> ReferenceQuantiles:
    drawn = np.random.default_rng(seed).normal(size=count)
    return ReferenceQuantiles(DECILES, tuple(np.quantile(drawn, DECILES).tolist()), count)


def test_psi_by_hand():
    """One real and one imagined reward for each: shares (7.25, .25, .25, 1.25)/9 against ¼ each."""
    window = DriftWindow(QUARTILES)
    for reward in [-5.0] * 7 + [1.5]:
        window.observe(reward)

    live = [7.25 / 9, 0.25 / 9, 0.25 / 9, 1.25 / 9]
    assert window.psi == pytest.approx(sum((q - 0.25) * math.log(q / 0.25) for q in live))
    assert (window.items, window.below, window.above) == (8, 7 / 8, 1 / 8)
    assert window.psi_expected == pytest.approx(3 * (1 / 8 + 1 / 1000))


def test_an_empty_window_shows_no_drift():
    window = DriftWindow(QUARTILES)

    assert (window.psi, window.items, window.below, window.above) == (0.0, 0, 0.0, 0.0)


def test_a_reward_on_an_edge_counts_as_the_references_counted_it():
    """A quantile is what a share of the references do not exceed: the edge belongs below."""
    window = DriftWindow(QUARTILES)
    for reward in (-1.0, 0.0, 1.0, math.nextafter(1.0, 2.0)):
        window.observe(reward)

    assert (window.below, window.above) == (0.25, 0.25)
    assert window.psi == pytest.approx(0.0)


def test_the_oldest_rewards_are_forgotten():
    window = DriftWindow(QUARTILES, window_items=4)
    for reward in (-9.0, -9.0, -9.0, -9.0, -2.0, -0.5, 0.5, 2.0):
        window.observe(reward)

    assert window.items == 4
    assert window.psi == pytest.approx(0.0)


def test_raw_rewards_are_held_against_calibrated_quantiles():
    """With temperature 2 and bias 1 the calibrated edges −1, 0, 1 are raw −4, −2, 0."""
    window = DriftWindow(QUARTILES, temperature=2.0, bias=1.0)
    for raw in (-4.5, -3.0, -1.0, 0.5):
        window.observe(raw)

    assert (window.below, window.above) == (0.25, 0.25)
    assert window.psi == pytest.approx(0.0)


def test_equal_quantiles_are_one_edge_and_the_references_themselves_show_no_drift():
    references = np.array([-1.0] * 10 + [0.0] * 60 + [1.0] * 30)
    window = DriftWindow(ReferenceQuantiles((0.1, 0.5, 0.7), (-1.0, 0.0, 0.0), 100))

    for reward in np.repeat(references, 20):
        window.observe(float(reward))

    assert window.psi == pytest.approx(0.0, abs=1e-9)
    assert window.psi_expected == pytest.approx(2 * (1 / 2000 + 1 / 100))


def test_without_drift_psi_is_as_expected_and_a_shift_shows():
    """Over twenty pairs of references and windows from one distribution."""
    still, moved = [], []
    for seed in range(20):
        quantiles = normal_references(1000, seed)
        same, shifted = DriftWindow(quantiles), DriftWindow(quantiles)
        for reward in np.random.default_rng(1000 + seed).normal(size=2000):
            same.observe(float(reward))
            shifted.observe(float(reward) + 0.75)
        still.append(same.psi)
        moved.append(shifted.psi - shifted.psi_expected)

    assert np.mean(still) == pytest.approx(9 * (1 / 2000 + 1 / 1000), rel=0.35)
    assert min(moved) > 0.25


def test_the_gauges_follow_the_window():
    registry = CollectorRegistry()
    drift = RewardDrift(registry, {"safety": PROFILE})

    for reward in (-5.0, -5.0, 5.0, 0.5):
        drift.observe("safety", reward)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, {"model": "safety", **labels})

    assert value("rm_drift_window_items") == 4
    assert value("rm_reward_outside_reference_ratio", side="below") == 0.5
    assert value("rm_reward_outside_reference_ratio", side="above") == 0.25
    assert value("rm_reward_reference_quantile", quantile="0.75") == 1.0
    psi, expected = value("rm_reward_psi"), value("rm_reward_psi_expected")
    assert psi is not None
    assert psi > 0
    assert expected == pytest.approx(3 * (1 / 4 + 1 / 1000))


def test_a_model_without_references_has_no_series_that_an_alert_could_fire_on():
    registry = CollectorRegistry()
    drift = RewardDrift(registry, {"safety": replace(PROFILE, reference_quantiles=None)})

    drift.observe("safety", 1.0)

    assert registry.get_sample_value("rm_reward_psi", {"model": "safety"}) is None
