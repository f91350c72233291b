"""The safety model's precision-recall curve of "unsafe", with τ and its interval on it."""

from typing import Any

import numpy as np

from training.calibration.threshold import OperatingPoint, ThresholdSearch
from training.publishing.report.inputs import ReportInputs
from training.publishing.report.plots.drawing import (
    FAINT,
    INK,
    MODEL,
    OTHER,
    THIRD,
    Absent,
    Drawing,
    new_figure,
)

_TITLE = "Finding unsafe responses: precision and recall"


def precision_recall_plot(inputs: ReportInputs) -> Drawing | Absent:
    """The curve over all thresholds, and the points that matter on it."""
    search = inputs.calibration.threshold
    if search is None:
        return Absent(_TITLE, "A threshold belongs to the safety role alone.")
    if search.curve is None:
        return Absent(_TITLE, f"No threshold was looked for: {search.reason}.")
    recall, precision = (100 * np.array(search.curve[name]) for name in ("recall", "precision"))
    figure, axes = new_figure(3.2)
    axes.plot(recall, precision, color=MODEL)
    if search.tau_interval is not None:
        low, high = search.tau_interval
        score = np.array(search.curve["score"])
        inside = (score >= low) & (score <= high)
        axes.plot(recall[inside], precision[inside], color=MODEL, linewidth=6, alpha=0.28)
    share = 100 * search.unsafe / search.labels
    for level, place, name in (
        (100 * search.target_precision, 100, "target precision"),
        (share, 0, "flagging blindly"),
    ):
        axes.axhline(level, color=FAINT, linewidth=1, linestyle=(0, (4, 2)))
        axes.annotate(
            name,
            (place, level),
            xytext=(0, 2),
            textcoords="offset points",
            ha="right" if place else "left",
            fontsize=7.5,
            color=FAINT,
        )
    told = [_marked(axes, search)]
    papers = search.papers_score
    if papers is not None and papers.precision is not None:
        axes.plot(
            [100 * papers.recall],
            [100 * papers.precision],
            "s",
            color=THIRD,
            markersize=5,
            label="LLaMA-2's 0.15",
        )
    axes.set_xlim(-2, 102)
    lowest = min(float(precision.min()), share)
    axes.set_ylim(lowest - 0.25 * (103 - lowest), 103)  # room for the legend
    axes.set_xlabel("recall: unsafe responses that are flagged, %")
    axes.set_ylabel("precision, %")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left")
    caption = (
        "A response is flagged where its score is below the threshold. The cross spans the 95 % "
        "intervals of precision and recall at τ; the broad line is where τ itself may lie."
    )
    return Drawing("precision-recall", _TITLE, caption, " ".join(told), figure)


def _marked(axes: Any, search: ThresholdSearch) -> str:
    """Mark τ, and say where it is."""
    point = search.point
    if point is None or point.precision is None:
        return f"No threshold: {search.reason}."
    precision, recall = 100 * point.precision, 100 * point.recall
    axes.errorbar(
        [recall],
        [precision],
        xerr=_around(recall, point.recall_interval),
        yerr=_around(precision, point.precision_interval),
        fmt="o",
        color=OTHER,
        ecolor=OTHER,
        elinewidth=1.2,
        markersize=6,
        markeredgecolor=INK,
        label=f"τ = {point.score:.3f}",
        zorder=4,
    )
    return _told(point)


def _around(value: float, interval: tuple[float, float] | None) -> list[list[float]] | None:
    """An interval of a share as distances below and above a percentage."""
    if interval is None:
        return None
    return [[max(0.0, value - 100 * interval[0])], [max(0.0, 100 * interval[1] - value)]]


def _told(point: OperatingPoint) -> str:
    return (
        f"At the threshold {point.score:.4f} precision is {100 * (point.precision or 0):.1f} % and "
        f"recall {100 * point.recall:.1f} %."
    )
