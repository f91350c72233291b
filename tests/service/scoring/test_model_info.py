"""What /v1/info and a local score say of calibration, thresholds and references."""

import json

from rm_core.rewards.rule import RewardRule
from rm_core.types import (
    Baseline,
    CalibrationFit,
    ModelProfile,
    ReferenceQuantiles,
    SafetyThreshold,
)
from service.scoring.model_info import models_json, selection_json

SAFETY = ModelProfile(
    "safety",
    "models/safety",
    "d" * 64,
    None,
    512,
    temperature=2.0,
    bias=-0.5,
    baseline=Baseline(0.25, 1.5, 32.0),
    calibration=CalibrationFit("labels", "Platt on 300 labels", 0, 300, 100, 0.1, 0.05),
    baseline_source="400 responses of the policy",
    reference_quantiles=ReferenceQuantiles((0.25, 0.75), (-1.0, 1.0), 400),
    safety_threshold=SafetyThreshold(0.2, "at precision 0.89", 0.89, 0.9, 0.5),
)
HELPFULNESS = ModelProfile("helpfulness", "models/helpfulness", "e" * 64, None, 512)


def test_a_model_is_told_with_its_calibration_and_where_it_came_from():
    told = json.loads(json.dumps(models_json({"safety": SAFETY, "helpfulness": HELPFULNESS})))

    safety = told["safety"]
    assert (safety["temperature"], safety["bias"]) == (2.0, -0.5)
    assert safety["calibration"]["how"] == "Platt on 300 labels"
    assert safety["calibration"]["temperature_standard_error"] == 0.1
    assert safety["baseline"] == {"mean": 0.25, "std": 1.5, "weight": 32.0}
    assert safety["baseline_source"] == "400 responses of the policy"
    assert safety["reference_quantiles"]["values"] == [-1.0, 1.0]
    assert told["helpfulness"]["calibration"] is None


def test_tau_is_told_on_both_scales_with_its_origin():
    profiles = {"safety": SAFETY}

    own = selection_json(RewardRule.of(profiles), profiles)
    set_ = selection_json(RewardRule.of(profiles, tau=0.5), profiles)

    assert (own["tau"], own["tau_source"]) == (0.2, "checkpoint")
    # 2 · (ln(0.2/0.8) + 0.5), by hand
    assert own["tau_raw"] == -1.7725887222397812
    assert own["checkpoint_threshold"]["precision"] == 0.9
    assert (set_["tau"], set_["tau_source"], set_["tau_raw"]) == (0.5, "setting", 1.0)
    assert set_["checkpoint_threshold"]["tau"] == 0.2  # what the setting overrides


def test_without_a_safety_model_there_is_no_raw_threshold():
    profiles = {"helpfulness": HELPFULNESS}

    told = selection_json(RewardRule.of(profiles), profiles)

    assert (told["tau"], told["tau_source"]) == (0.15, "default")
    assert "tau_raw" not in told
