"""Histograms of the rewards of chosen and of rejected responses."""

import numpy as np

from training.publishing.report.inputs import ReportInputs
from training.publishing.report.plots.drawing import MODEL, OTHER, Absent, Drawing, new_figure
from training.statistics.intervals import Floats

_TITLE = "Rewards of chosen and rejected responses"


def rewards_plot(inputs: ReportInputs) -> Drawing | Absent:
    """Two histograms over one another."""
    pairs = inputs.pairs
    if inputs.figures.pairs is None:
        return Absent(_TITLE, "No pairs were held out, so there is no chosen or rejected response.")
    both = np.concatenate([pairs.chosen, pairs.rejected])
    bins = _bins(both)
    figure, axes = new_figure(2.9)
    for values, colour, name in (
        (pairs.rejected, OTHER, "rejected"),
        (pairs.chosen, MODEL, "chosen"),
    ):
        axes.hist(values, bins, color=colour, alpha=0.3)
        axes.hist(values, bins, color=colour, histtype="step", linewidth=1.6, label=name)
        axes.axvline(float(values.mean()), color=colour, linestyle=(0, (4, 2)), linewidth=1.2)
    axes.set_xlabel("raw reward")
    axes.set_ylabel("responses, once per pair")
    axes.legend(loc="upper left")
    mean_chosen = inputs.figures.pairs.mean_chosen
    mean_rejected = inputs.figures.pairs.mean_rejected
    alt = (
        f"Two overlapping histograms of {len(pairs.chosen)} pairs: chosen responses have a mean "
        f"reward of {mean_chosen:+.3f}, rejected ones of {mean_rejected:+.3f}."
    )
    caption = (
        "Dashed lines are means. What counts is the order inside a pair; overlap between prompts "
        "is no fault."
    )
    return Drawing("rewards", _TITLE, caption, alt, figure)


def _bins(values: Floats) -> Floats:
    """Edges of bins over all values, also where these are all but equal."""
    low, high = float(values.min()), float(values.max())
    least = 1e-3 * max(1.0, abs(low), abs(high))
    if high - low < least:
        low, high = low - least, high + least
    return np.linspace(low, high, max(8, min(40, round(len(values) ** 0.5))) + 1)
