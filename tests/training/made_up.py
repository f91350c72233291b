"""Figures and a data report as a small training leaves them, without the training."""

from collections.abc import Sequence

import numpy as np

from training.comparisons import Comparison, Pair
from training.data_report import DataReport, SplitCounts
from training.evaluation import Accuracy, Evaluation, accuracy_of, evaluate
from training.records import Strength


def made_up_evaluation(
    gaps: Sequence[float] = (2.0, 1.0, -1.0, 3.0), strength: Strength | None = None
) -> Evaluation:
    """Figures on one pair a prompt, whose rewards differ by `gaps`."""
    comparisons = [
        Comparison(
            str(i), str(i), str(i), ("x", "y"), (), (Pair(0, 1, 0.0, strength),), (None, None)
        )
        for i in range(len(gaps))
    ]
    return evaluate(comparisons, [(gap, 0.0) for gap in gaps])


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
