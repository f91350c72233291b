"""How good a reward model is, beside what it must beat, and how sure that is.

Everything but the scorers is arithmetic on rewards; figures are frozen dataclasses, absent (None)
where there is not enough data.
"""

from training.evaluation.accuracy import Accuracy, accuracy_of
from training.evaluation.forward import score_comparisons
from training.evaluation.pairs import Evaluation, evaluate
from training.statistics.intervals import Estimate, Interval, bootstrap_interval, wilson_interval

__all__ = [
    "Accuracy",
    "Estimate",
    "Evaluation",
    "Interval",
    "accuracy_of",
    "bootstrap_interval",
    "evaluate",
    "score_comparisons",
    "wilson_interval",
]
