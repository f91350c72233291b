"""Evaluation of reward models: figures with intervals, beside baselines, and their tables.

Everything but the scorers is arithmetic on rewards; figures are frozen dataclasses, absent (None)
where there is not enough data.

Functions of figures have arguments in common: `examples` may lack what is measured, some or all of
them; `rewards` are finite and stand beside them (`rewards.Rewards`); `has_scores` says whether
σ(reward) is a score; `seed` is that of the resampling.
"""

from training.evaluation.accuracy import Accuracy, accuracy_of
from training.evaluation.figures import Figures, evaluate
from training.evaluation.forward import score_examples

__all__ = ["Accuracy", "Figures", "accuracy_of", "evaluate", "score_examples"]
