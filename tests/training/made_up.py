"""Figures and a data report as a small training leaves them, without the training."""

from collections.abc import Sequence

import numpy as np

from training.calibration.calibrate import (
    CalibrationOptions,
    CalibrationResult,
    calibrate_rewards,
)
from training.calibration.observations import observations_of
from training.data.examples import Example, Pair
from training.data.report import DataReport, SplitCounts
from training.evaluation import Accuracy, Figures, accuracy_of
from training.evaluation.heldout import heldout_figures
from training.types import Strength


def made_up_figures(
    gaps: Sequence[float] = (2.0, 1.0, -1.0, 3.0), strength: Strength | None = None
) -> Figures:
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


def made_up_calibration(
    gaps: Sequence[float] = (2.0, 1.0, -1.0, 3.0), *, weight: float = 32.0
) -> CalibrationResult:
    """The calibration of the same few pairs, which is the identity."""
    examples, rewards = _pairs(gaps, None)
    options = CalibrationOptions(role="safety", baseline_weight=weight)
    return calibrate_rewards(observations_of(examples, rewards), options)


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
