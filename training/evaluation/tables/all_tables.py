"""Every table of an evaluation or of a trained model, in the order in which they are read."""

from collections.abc import Sequence

from training.evaluation.figures import Figures
from training.evaluation.report import EvaluationReport
from training.evaluation.tables.bias import length_tables, robustness_tables
from training.evaluation.tables.cells import Table
from training.evaluation.tables.rankings import best_of_n_tables, ranking_tables
from training.evaluation.tables.scorers import (
    accuracy_tables,
    label_tables,
    left_out_tables,
    safety_tables,
    step_tables,
    strength_tables,
    subset_tables,
)


def report_tables(report: EvaluationReport) -> list[Table]:
    """Every table of an evaluation that has something to show, the general first."""
    scorers = report.scorers
    return [
        *accuracy_tables(scorers, report.data),
        *common_tables(scorers),
        *subset_tables(scorers),
        *length_tables(scorers),
        *robustness_tables(scorers, report.data),
        *step_tables(scorers),
        *left_out_tables(report.data),
    ]


def model_tables(figures: Figures) -> list[Table]:
    """Every table of a trained model's held-out figures, but accuracy over all pairs."""
    return [*common_tables([figures]), *length_tables([figures]), *step_tables([figures])]


def common_tables(scorers: Sequence[Figures]) -> list[Table]:
    """Grades of strength, safety, rankings and best of n."""
    return [
        *strength_tables(scorers),
        *safety_tables(scorers),
        *label_tables(scorers),
        *ranking_tables(scorers),
        *best_of_n_tables(scorers),
    ]
