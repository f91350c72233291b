"""The calibration that a training ends with."""

import numpy as np

from training.config import TrainingConfig
from training.data.examples import EncodedExample, Pair
from training.evaluation.scorer import Candidate, Reading, Refusal
from training.pipeline import calibrate_trained

CONFIG = TrainingConfig(
    role="helpfulness",
    data=("d",),
    base="b",
    output="o",
    baseline_weight=5.0,
    reference=("policy.jsonl",),
)
HELDOUT = [EncodedExample(str(i), str(i), "p", ("x", "y"), (Pair(0, 1),)) for i in range(60)]
REWARDS = [(1.0 + i / 60, 0.0) if i % 4 else (0.0, 1.0) for i in range(60)]


def test_the_configuration_is_followed() -> None:
    fitted = calibrate_trained(HELDOUT, REWARDS, CONFIG, references=(), read=lambda _: [])

    assert fitted.fit.method == "pairs"
    assert fitted.threshold is None
    assert fitted.baseline.weight == 5.0
    assert "120 held-out responses" in fitted.source


def test_references_are_read_by_the_trained_model() -> None:
    found = calibrate_trained(
        HELDOUT,
        REWARDS,
        CONFIG,
        references=[Candidate("p", "r")] * 3,
        read=lambda given: [Reading(float(i)) for i in range(len(given))],
    )

    assert found.source == "3 reference responses from policy.jsonl"
    assert found.baseline.mean == np.mean([0.0, 1.0, 2.0]) / found.fit.calibration.temperature


def test_references_that_can_t_be_read_do_not_cost_the_training() -> None:
    found = calibrate_trained(
        HELDOUT,
        REWARDS,
        CONFIG,
        references=[Candidate("p", "r")],
        read=lambda given: [Refusal("input_too_long")] * len(given),
    )

    assert "120 held-out responses" in found.source
    assert "1 × input_too_long" in found.source
    assert found.baseline is not None
