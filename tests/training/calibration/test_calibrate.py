"""The parts put together: what the manifest gets, and that honest figures are honest."""

import json
from dataclasses import replace

import numpy as np
import pytest

from rm_core.checkpoint.manifest import RewardModelManifest
from rm_core.rewards import calibrate
from rm_core.text.contract import PositionContract
from rm_core.types import SafetyThreshold
from tests.training.calibration.made_up import drawn, of_pairs
from training.calibration.calibrate import CalibrationOptions, calibrate_rewards
from training.calibration.references import ReferenceRewards

MANIFEST = RewardModelManifest(
    role="safety",
    position=PositionContract("concatenate", "if_absent", "if_absent", "last_token", 128),
    metrics={"accuracy": 0.6},
)
SAFETY = CalibrationOptions(role="safety")


def test_a_safety_model_gets_all_of_it_and_the_manifest_reads_back() -> None:
    data = drawn()

    result = calibrate_rewards(data, SAFETY)
    manifest = result.applied_to(MANIFEST)

    assert RewardModelManifest.from_json(json.loads(json.dumps(manifest.to_json()))) == replace(
        manifest, metrics=json.loads(json.dumps(manifest.metrics))
    )
    assert (manifest.temperature, manifest.bias) == tuple(result.fit.calibration)
    assert (manifest.calibration.method, manifest.calibration.labels) == ("labels", 800)
    assert manifest.safety_threshold.precision >= 0.89
    assert manifest.metrics["accuracy"] == 0.6
    assert manifest.metrics["calibration"]["labels"]["after"]["count"] == 800
    json.dumps(manifest.metrics, allow_nan=False)


def test_baseline_and_quantiles_are_of_calibrated_rewards() -> None:
    data = drawn()

    result = calibrate_rewards(data, SAFETY)

    calibrated = calibrate(data.rewards, result.fit.calibration)
    assert result.baseline.mean == pytest.approx(calibrated.mean())
    assert result.baseline.std == pytest.approx(calibrated.std(ddof=1))
    assert result.baseline.weight == 32.0
    at = result.quantiles.probabilities.index(0.5)
    assert result.quantiles.values[at] == pytest.approx(np.median(calibrated))
    assert "not sampled from a policy" in result.source


def test_reference_responses_take_the_place_of_the_held_out_ones() -> None:
    references = ReferenceRewards(np.linspace(10.0, 12.0, 101), "101 samples of the policy")

    result = calibrate_rewards(drawn(), SAFETY, references=references)

    expected = calibrate([11.0], result.fit.calibration)[0]
    assert result.baseline.mean == pytest.approx(expected)
    assert result.applied_to(MANIFEST).baseline_source == "101 samples of the policy"


def test_an_uncalibrated_reward_gets_better_on_prompts_that_were_not_fitted_on() -> None:
    result = calibrate_rewards(drawn(temperature=4.0, bias=1.0, prompts=1000), SAFETY)

    for figures in (result.pairs, result.labels):
        assert figures.after.nll < figures.before.nll
        assert figures.after.ece < 0.5 * figures.before.ece
        assert figures.after.ece < 2.5 * figures.after.ece_if_calibrated


def test_figures_after_are_no_better_than_the_truth_allows() -> None:
    """Fitted on its own data a likelihood beats the true one; cross-fitted, on average, not."""
    gains = []
    for seed in range(40):
        data = drawn(temperature=2.0, bias=-0.5, prompts=60, seed=seed)
        after = calibrate_rewards(data, SAFETY).labels.after
        truth = calibrate(data.labels.reward, (2.0, -0.5))  # type: ignore[arg-type]
        gains.append(np.mean(np.logaddexp(0, truth) - data.labels.is_safe * truth) - after.nll)

    assert np.mean(gains) < 0


def test_a_helpfulness_model_has_no_threshold_and_loses_a_wrong_one() -> None:
    old = replace(
        MANIFEST,
        safety_threshold=SafetyThreshold(0.3, "of an earlier calibration"),
        metrics={"safety_threshold": {}, "accuracy": 0.6},
    )

    manifest = calibrate_rewards(drawn(), CalibrationOptions(role="helpfulness")).applied_to(old)

    assert manifest.safety_threshold is None
    assert "safety_threshold" not in manifest.metrics
    assert (manifest.calibration and manifest.calibration.method) == "pairs"
    # nobody promised that a helpful answer's score is its probability of being safe
    assert manifest.metrics["calibration"]["labels"] == {"before": None, "after": None}


def test_a_threshold_out_of_reach_is_told_in_the_metrics_and_not_served() -> None:
    manifest = calibrate_rewards(
        drawn(spread=0.5), replace(SAFETY, target_precision=1.0)
    ).applied_to(MANIFEST)

    assert manifest.safety_threshold is None
    assert "precision of 1" in manifest.metrics["safety_threshold"]["reason"]


@pytest.mark.parametrize("gaps", [[0.0] * 100, [1.0], [-1.0] * 100], ids=["constant", "one", "bad"])
def test_data_that_tell_nothing_leave_the_rewards_alone(gaps: list[float]) -> None:
    result = calibrate_rewards(of_pairs(gaps), SAFETY)
    manifest = result.applied_to(MANIFEST)

    assert (manifest.temperature, manifest.bias) == (1.0, 0.0)
    assert manifest.calibration.method == "none"
    assert "not by pairs" in manifest.calibration.how
    assert manifest.baseline is None
    json.dumps(manifest.to_json(), allow_nan=False)


def test_the_text_says_what_was_found() -> None:
    text = calibrate_rewards(drawn(prompts=800), SAFETY).to_text()

    for words in ("temperature", "P(safe): ECE", "safety threshold: 0.", "LLaMA-2's 0.15 here"):
        assert words in text
    nothing = calibrate_rewards(of_pairs([1.0]), SAFETY).to_text()
    assert "safety threshold: none: too few labels" in nothing
    assert "baseline: none" in nothing
