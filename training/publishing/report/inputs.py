"""The inputs of a report, with the held-out rewards as arrays for plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from training.calibration.calibrate import CalibrationResult
from training.config import TrainingConfig
from training.data.examples import Example
from training.data.report import DataReport
from training.evaluation import Accuracy, Figures
from training.evaluation.rewards import Rewards, length_of
from training.optimization.history import LogRow
from training.statistics.intervals import Floats, Ints
from training.types import STRENGTHS, Strength


@dataclass(frozen=True, slots=True)
class PairRewards:
    """Rewards of every held-out pair.

    Attributes:
        chosen: (pairs,).
        rejected: (pairs,).
        strength: index into `STRENGTHS` of each pair's grade, −1 without one, (pairs,).
    """

    chosen: Floats
    rejected: Floats
    strength: Ints

    @property
    def gap(self) -> Floats:
        """The reward margins, (pairs,)."""
        return self.chosen - self.rejected

    def gaps_by_strength(self) -> dict[Strength, Floats]:
        """The reward margins of each grade that occurs, the strongest first."""
        return {
            grade: self.gap[self.strength == number]
            for number, grade in enumerate(STRENGTHS)
            if (self.strength == number).any()
        }


@dataclass(frozen=True)
class ReportInputs:
    """The inputs of a report.

    Attributes:
        data: what became of the data.
        figures: measured on the held-out split, as the baselines are.
        history: the trainer's log.
        examples: the held-out split.
        rewards: the model's raw rewards of its responses.
    """

    config: TrainingConfig
    data: DataReport
    figures: Figures
    baselines: Mapping[str, Accuracy]
    calibration: CalibrationResult
    history: Sequence[LogRow]
    examples: Sequence[Example]
    rewards: Rewards

    @property
    def best_baseline(self) -> tuple[str, Accuracy] | None:
        """The baseline with the highest accuracy; None where no pairs were held out."""
        if not self.baselines:
            return None
        return max(self.baselines.items(), key=lambda item: item[1].value)

    @cached_property
    def pairs(self) -> PairRewards:
        """Rewards of every pair."""
        number: dict[Strength | None, int] = {grade: n for n, grade in enumerate(STRENGTHS)}
        rows = [
            (given[pair.chosen], given[pair.rejected], number.get(pair.strength, -1))
            for example, given in zip(self.examples, self.rewards, strict=True)
            for pair in example.pairs
        ]
        columns = np.array(rows, dtype=np.float64).reshape(-1, 3)
        return PairRewards(columns[:, 0], columns[:, 1], columns[:, 2].astype(np.int64))

    @cached_property
    def responses(self) -> tuple[Floats, Floats]:
        """Reward and length in characters of every response, (responses,) each."""
        rewards = [reward for given in self.rewards for reward in given]
        lengths = [length_of(text) for example in self.examples for text in example.responses]
        return np.array(rewards, dtype=np.float64), np.array(lengths, dtype=np.float64)


def drawn_indices(count: int, most: int, *, seed: int) -> Ints:
    """Indices to draw of `count` points: all, or a random sample of `most`, sorted."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, size=most, replace=False))
