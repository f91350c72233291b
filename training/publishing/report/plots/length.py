"""Rewards against the length of responses."""

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator

from training.evaluation.tables.cells import number
from training.publishing.report.inputs import ReportInputs, drawn_indices
from training.publishing.report.plots.drawing import MODEL, OTHER, Absent, Drawing, new_figure
from training.statistics.intervals import Floats

MOST_POINTS = 1_500
_TITLE = "Reward against length"
_GROUPS = 12


def length_plot(inputs: ReportInputs) -> Drawing | Absent:
    """A point for each response, and the mean reward of responses about as long."""
    rewards, lengths = inputs.responses
    if not len(rewards):
        return Absent(_TITLE, "No responses were held out.")
    found = inputs.figures.lengths
    correlation = None if found is None else found.correlation
    drawn = drawn_indices(len(rewards), MOST_POINTS, seed=inputs.config.seed)
    figure, axes = new_figure(3.1)
    axes.scatter(
        np.maximum(lengths[drawn], 1),
        rewards[drawn],
        6,
        color=MODEL,
        alpha=0.35,
        linewidths=0,
    )
    middle, mean = _means(lengths, rewards)
    if len(middle) > 1:
        axes.plot(middle, mean, color=OTHER, label="mean of responses about as long")
        axes.legend(loc="upper left")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.set_xlabel("characters of the response")
    axes.set_ylabel("raw reward")
    told = f"Spearman's ρ of reward and length is {number(correlation)}."
    sample = ""
    if len(drawn) < len(rewards):
        sample = (
            f" {len(drawn):,} of {len(rewards):,} responses are drawn, at random; the line and ρ "
            "are of all."
        )
    caption = f"{told} A slope alone is no fault: good answers may be longer.{sample}"
    alt = f"Scatter plot of {len(drawn):,} responses. {told}"
    return Drawing("length", _TITLE, caption, alt, figure)


def _means(lengths: Floats, rewards: Floats) -> tuple[Floats, Floats]:
    """Median length and mean reward of groups as large as each other, equal lengths together."""
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, _GROUPS + 1)[1:-1]))
    group = np.searchsorted(edges, lengths, side="left")
    kept = np.unique(group)
    middle = np.array([np.median(lengths[group == one]) for one in kept])
    mean = np.array([rewards[group == one].mean() for one in kept])
    return np.maximum(middle, 1), mean
