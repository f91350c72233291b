"""Figures and a data report as a small training leaves them, without the training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rm_core.checkpoint.manifest import RewardModelManifest
from training.calibration.calibrate import (
    CalibrationOptions,
    CalibrationResult,
    calibrate_rewards,
)
from training.calibration.observations import observations_of
from training.config import TrainingConfig
from training.data.examples import Example, Pair
from training.data.report import DataReport, SplitCounts
from training.evaluation import Accuracy, Figures, accuracy_of
from training.evaluation.heldout import heldout_figures
from training.modeling.reward_model import TrainableModel
from training.publishing.publish import publish
from training.publishing.report.plots.drawing import Plot
from training.types import Strength

GAPS = (2.0, 1.0, -1.0, 3.0)


def made_up_figures(gaps: Sequence[float] = GAPS, strength: Strength | None = None) -> Figures:
    """Held-out figures on one pair a prompt, whose rewards differ by `gaps`."""
    return heldout_figures(*_pairs(gaps, strength))


def _pairs(
    gaps: Sequence[float], strength: Strength | None
) -> tuple[list[Example], list[tuple[float, ...]]]:
    examples = [
        Example(str(i), str(i), str(i), ("x", "y"), (Pair(0, 1, 0.0, strength),))
        for i in range(len(gaps))
    ]
    return examples, [(gap, 0.0) for gap in gaps]


def made_up_calibration(gaps: Sequence[float] = GAPS) -> CalibrationResult:
    """The calibration of the same few pairs, which is the identity."""
    examples, rewards = _pairs(gaps, None)
    observations = observations_of(examples, rewards)
    return calibrate_rewards(observations, CalibrationOptions(role="safety"))


def made_up_baselines() -> dict[str, Accuracy]:
    """One baseline that is always wrong."""
    return {"longer_wins": accuracy_of(np.array([-1.0, -1.0]), ["a", "b"])}


def made_up_report() -> DataReport:
    """Of 9 rows, two of which were left out."""
    counts = SplitCounts(4, 4, 8, 4, 80, 10.0, 12, 0.5, {})
    return DataReport(
        files={"data.jsonl": "canonical"},
        records_read=9,
        ties=0,
        splits={"train": counts, "heldout": counts},
        dropped={"empty": ["private-id-1", "private-id-2"]},
        fingerprint="f" * 64,
    )


def published(
    model: TrainableModel,
    output: Path,
    *,
    gaps: Sequence[float] = GAPS,
    pictures: Mapping[str, Plot] | None = None,
) -> RewardModelManifest:
    """A safety model's checkpoint with all of these figures."""
    config = TrainingConfig(role="safety", data=("d",), base="b", output=str(output))
    figures, calibration = made_up_figures(gaps), made_up_calibration(gaps)
    return publish(
        model, config, made_up_report(), figures, made_up_baselines(), calibration, pictures
    )
