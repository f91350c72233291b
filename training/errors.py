"""What can go wrong between a data file and a trained checkpoint.

RewardError
└─ TrainingError
   ├─ DataError          the data can't be used as a whole (`MalformedRow` names file and line)
   │  └─ MalformedRow
   ├─ TrainingDiverged   rewards or loss stopped being numbers
   ├─ NotSaved           the disk took a checkpoint only in part, or not at all
   └─ ScoresDiffer       a converted checkpoint does not score as its source does

`UnusableRow` is no failure: it carries the reason for which one row is left out of training.
"""

from typing import ClassVar

from rm_core.errors import TrainingError


class DataError(TrainingError):
    """Raised when preference data can't be used; the message says what to change."""

    code: ClassVar[str] = "data_error"


class MalformedRow(DataError):
    """Raised when a row is not what its format promises.

    Args:
        problem: what is wrong, without the row's text.
        where: file and line, "data.jsonl:12"; empty until the reader knows it.
    """

    code: ClassVar[str] = "malformed_row"

    def __init__(self, problem: str, *, where: str = "") -> None:
        super().__init__(f"{where}: {problem}" if where else problem)
        self.problem = problem
        self.where = where


class TrainingDiverged(TrainingError):
    """Raised when the loss or a reward is not finite; a smaller learning rate usually helps."""

    code: ClassVar[str] = "training_diverged"


class ScoresDiffer(TrainingError):
    """Raised when a converted checkpoint gives other rewards than its source; none is written."""

    code: ClassVar[str] = "scores_differ"


class UnusableRow(Exception):
    """Raised by a format for a well-formed row that holds no usable comparison.

    Args:
        reason: one of the data report's reasons.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
