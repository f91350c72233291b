"""Which margins, objectives and heads serve one's own data best: many small trainings, one table.

`grid` says what is trained, `cells` trains and keeps it, `figures` does the statistics and `report`
writes them down.
"""

from training.ablation.figures import AblationTable
from training.ablation.grid import Grid, Setting, make_grid
from training.ablation.report import markdown_of, plot, rich_table, write_report
from training.ablation.trials import run_ablation

__all__ = [
    "AblationTable",
    "Grid",
    "Setting",
    "make_grid",
    "markdown_of",
    "plot",
    "rich_table",
    "run_ablation",
    "write_report",
]
