"""Accuracy beside the baselines, with intervals."""

from training.publishing.report.inputs import ReportInputs
from training.publishing.report.plots.drawing import FAINT, INK, MODEL, Absent, Drawing, new_figure

_TITLE = "Accuracy beside the baselines"


def accuracy_plot(inputs: ReportInputs) -> Drawing | Absent:
    """A point with its interval for the model and for each baseline."""
    if inputs.figures.pairs is None:
        return Absent(_TITLE, "No pairs were held out.")
    rows = [("reward model", inputs.figures.pairs.accuracy)]
    rows += [(name.replace("_", " "), found) for name, found in inputs.baselines.items()]
    figure, axes = new_figure(0.75 + 0.33 * len(rows))
    for place, (_, found) in enumerate(rows):
        colour = FAINT if place else MODEL
        low, high = 100 * found.bootstrap.low, 100 * found.bootstrap.high
        axes.plot([low, high], [place, place], color=colour, linewidth=2.2)
        axes.plot([100 * found.value], [place], "o", color=colour, markersize=6)
        axes.annotate(
            f"{100 * found.value:.1f}",
            (100 * found.value, place),
            xytext=(0, 5),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=INK,
        )
    axes.axvline(50, color=INK, linewidth=1, linestyle=(0, (2, 2)))
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(len(rows) - 0.5, -0.7)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("held-out pairs ordered right, %")
    alt = "; ".join(
        f"{name} {100 * found.value:.1f} % "
        f"({100 * found.bootstrap.low:.1f} to {100 * found.bootstrap.high:.1f})"
        for name, found in rows
    )
    caption = (
        "Lines are 95 % intervals by resampling prompts; the dotted line is a coin. A model that "
        "does not clear its baselines has learned little beyond what they see."
    )
    return Drawing("accuracy", _TITLE, caption, f"Accuracy: {alt}.", figure)
