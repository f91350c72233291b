"""Reward margins of each grade of strength: a stronger preference should have a larger margin."""

import numpy as np

from training.publishing.report.inputs import ReportInputs
from training.publishing.report.plots.drawing import (
    FAINT,
    GROUND,
    INK,
    MODEL,
    OTHER,
    Absent,
    Drawing,
    new_figure,
)

_TITLE = "Reward margin per grade of strength"
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def margins_plot(inputs: ReportInputs) -> Drawing | Absent:
    """A box for each grade; for all pairs together where none is graded."""
    if inputs.figures.pairs is None:
        return Absent(_TITLE, "No pairs were held out, so there are no margins between rewards.")
    graded = inputs.pairs.gaps_by_strength()
    groups = {name.replace("_", " "): gaps for name, gaps in graded.items()}
    groups = groups if len(groups) > 1 else {**groups, "all pairs": inputs.pairs.gap}
    figure, axes = new_figure(0.8 + 0.42 * len(groups))
    told = []
    for place, (name, gaps) in enumerate(groups.items()):
        p05, p25, p50, p75, p95 = np.quantile(gaps, _QUANTILES)
        axes.plot([p05, p95], [place, place], color=FAINT, linewidth=1.4, zorder=1)
        axes.barh(place, p75 - p25, left=p25, height=0.46, color=MODEL, zorder=2)
        axes.plot([p50, p50], [place - 0.23, place + 0.23], color=GROUND, linewidth=2, zorder=3)
        told.append(f"{name}: median {p50:+.2f}, middle half {p25:+.2f} to {p75:+.2f}")
    axes.axvline(0, color=OTHER, linewidth=1.2)
    axes.set_yticks(
        range(len(groups)), [f"{name} ({len(gaps):,})" for name, gaps in groups.items()]
    )
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("reward of chosen less reward of rejected")
    caption = (
        "Left of the line, pairs are ordered wrong. Boxes hold the middle half of the pairs, lines "
        "nine in ten; the gap in a box is the median. Numbers behind the names count pairs."
    )
    title = _TITLE if len(graded) > 1 else "Reward margins"
    return Drawing("margins", title, caption, ". ".join(told) + ".", figure)
