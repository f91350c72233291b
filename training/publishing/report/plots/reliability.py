"""Reliability diagrams: what was promised against what came true, before and after calibration."""

from typing import Any

from training.calibration.calibrate import BeforeAndAfter
from training.calibration.reliability import Reliability
from training.publishing.report.inputs import ReportInputs
from training.publishing.report.plots.drawing import (
    FAINT,
    MODEL,
    OTHER,
    Absent,
    Drawing,
    new_figure,
)

_TITLE = "Reliability before and after calibration"


def reliability_plot(inputs: ReportInputs) -> Drawing | Absent:
    """One diagram for pairs, one for safety labels; whichever there is."""
    calibration = inputs.calibration
    given = [
        ("P(the predicted winner was chosen)", 0.5, calibration.pairs),
        ("P(safe)", 0.0, calibration.labels),
    ]
    drawn = [
        (what, lowest, change.before, change.after)
        for what, lowest, change in given
        if change.before is not None and change.after is not None
    ]
    if not drawn:
        return Absent(_TITLE, _why(calibration.pairs))
    figure, axes = new_figure(2.95, columns=len(drawn), squeeze=False)
    told = []
    for panel, (what, lowest, before, after) in zip(axes[0], drawn, strict=True):
        _diagram(panel, lowest, before, after)
        panel.set_title(f"{what}\nECE {before.ece:.3f} → {after.ece:.3f}", fontsize=8)
        panel.set_xlabel("promised, %")
        told.append(f"{what}: ECE {before.ece:.3f} before, {after.ece:.3f} after")
    axes[0, 0].set_ylabel("came true, %")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    caption = (
        "On the line, probabilities mean what they say; below it they promise too much. Points are "
        "bins of equal mass, larger where more is in them. After: cross-fitted, each prompt "
        "calibrated by others."
    )
    return Drawing("reliability", _TITLE, caption, ". ".join(told) + ".", figure)


def _diagram(panel: Any, lowest: float, before: Reliability, after: Reliability) -> None:
    low = 100 * lowest
    panel.plot([low, 100], [low, 100], color=FAINT, linewidth=1, linestyle=(0, (2, 2)))
    for found, colour, name in ((before, OTHER, "before"), (after, MODEL, "after")):
        promised = [100 * one.predicted for one in found.bins]
        true = [100 * one.observed for one in found.bins]
        most = max(one.count for one in found.bins)
        sizes = [8 + 26 * one.count / most for one in found.bins]
        panel.plot(promised, true, color=colour, linewidth=1.2)
        panel.scatter(promised, true, sizes, color=colour, label=f"{name} calibration", zorder=3)
    room = 3
    below = min([low, *(100 * one.observed for one in (*before.bins, *after.bins))])
    panel.set_xlim(low - room, 100 + room)
    panel.set_ylim(below - room, 100 + room)


def _why(pairs: BeforeAndAfter) -> str:
    if pairs.before is None:
        return "No pairs and no safety labels were held out, so there is no probability to check."
    return "The calibration could not be checked on prompts that it was not fitted on."
