"""Every plot of a report, rendered or absent, in the order of the page."""

from collections.abc import Callable, Mapping

from training.publishing.report.inputs import ReportInputs
from training.publishing.report.plots.accuracy import accuracy_plot
from training.publishing.report.plots.best_of_n import best_of_n_plot
from training.publishing.report.plots.drawing import Absent, Drawing, Plot, our_style, rendered
from training.publishing.report.plots.learning import learning_plot
from training.publishing.report.plots.length import length_plot
from training.publishing.report.plots.margins import margins_plot
from training.publishing.report.plots.precision_recall import precision_recall_plot
from training.publishing.report.plots.reliability import reliability_plot
from training.publishing.report.plots.rewards import rewards_plot

PLOTS: Mapping[str, Callable[[ReportInputs], Drawing | Absent]] = {
    "accuracy": accuracy_plot,
    "rewards": rewards_plot,
    "margins": margins_plot,
    "best-of-n": best_of_n_plot,
    "length": length_plot,
    "reliability": reliability_plot,
    "precision-recall": precision_recall_plot,
    "learning": learning_plot,
}
"""The plots by the names of their files."""


def draw_plots(inputs: ReportInputs) -> dict[str, Plot | Absent]:
    """Every plot by name."""
    with our_style():
        drawn = {name: plot(inputs) for name, plot in PLOTS.items()}
    return {
        name: found if isinstance(found, Absent) else rendered(found)
        for name, found in drawn.items()
    }
