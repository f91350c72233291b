"""Learning curves: loss, accuracy and learning rate over updates."""

from typing import Any

import numpy as np

from training.optimization.history import Series, series, smoothed, thinned
from training.publishing.report.inputs import ReportInputs
from training.publishing.report.plots.drawing import (
    FAINT,
    MODEL,
    OTHER,
    Absent,
    Drawing,
    new_figure,
)

_TITLE = "Learning curves"


def learning_plot(inputs: ReportInputs) -> Drawing | Absent:
    """Loss and accuracy of training, the held-out ones beside them, and the learning rate."""
    loss = _series(inputs, "loss")
    if loss is None:
        return Absent(
            _TITLE,
            "The trainer logged fewer than two lines, so there is no curve; a smaller "
            "logging_steps gives more.",
        )
    accuracy = _series(inputs, "accuracy")
    rate = _series(inputs, "learning_rate")
    panels = 1 + (accuracy is not None) + (rate is not None)
    figure, axes = new_figure(
        1.5 * panels + 0.5,
        rows=panels,
        sharex=True,
        squeeze=False,
        gridspec_kw={"height_ratios": [2.2, *[1.6] * (accuracy is not None), 1][:panels]},
    )
    remaining = iter(axes[:, 0])
    told = [_loss_panel(next(remaining), loss, inputs)]
    if accuracy is not None:
        told.append(_accuracy_panel(next(remaining), accuracy, inputs))
    if rate is not None:
        panel = next(remaining)
        panel.plot(rate.update, rate.value, color=FAINT)
        panel.set_ylabel("learning rate")
        panel.set_ylim(bottom=0)
        panel.ticklabel_format(axis="y", style="plain" if rate.value.max() >= 1e-3 else "sci")
        told.append(f"Learning rate at most {rate.value.max():.3g}.")
    axes[-1, 0].set_xlabel("update")
    caption = (
        "Each point is the mean over the updates since the last one, on batches that the model had "
        "not seen in that epoch; the thick line is its mean over about a tenth of the run. "
        "The diamond is the held-out split after training."
    )
    return Drawing("learning", _TITLE, caption, " ".join(told), figure)


def _loss_panel(panel: Any, loss: Series, inputs: ReportInputs) -> str:
    objectives = list(inputs.config.weights)
    own = _series(inputs, "loss_bradley_terry")
    shown = loss if own is None else own
    _curve(panel, shown, MODEL, "training")
    pairs = inputs.figures.pairs
    comparable = own is not None or objectives == ["bradley_terry"]
    told = f"Training loss from {shown.value[0]:.3f} to {smoothed(shown.value)[-1]:.3f}"
    if comparable and pairs is not None:
        _heldout(panel, loss, pairs.loss_with_margin)
        told += f", held-out loss with the same margins {pairs.loss_with_margin:.3f}"
    panel.set_ylabel("pair loss, nats" if comparable else "loss")
    panel.legend(loc="upper right", ncols=2)
    return told + "."


def _accuracy_panel(panel: Any, accuracy: Series, inputs: ReportInputs) -> str:
    percent = Series(accuracy.update, 100 * accuracy.value)
    _curve(panel, percent, MODEL, "training")
    told = f"Training accuracy from {percent.value[0]:.1f} % to {smoothed(percent.value)[-1]:.1f} %"
    pairs = inputs.figures.pairs
    if pairs is not None:
        _heldout(panel, accuracy, 100 * pairs.accuracy.value)
        told += f", held out {100 * pairs.accuracy.value:.1f} %"
    panel.set_ylabel("accuracy, %")
    return told + "."


def _series(inputs: ReportInputs, name: str) -> Series | None:
    found = series(inputs.history, name)
    return None if found is None else thinned(found)


def _curve(panel: Any, found: Series, colour: str, label: str) -> None:
    panel.plot(found.update, found.value, color=colour, linewidth=0.8, alpha=0.45)
    panel.plot(found.update, smoothed(found.value), color=colour, label=label)


def _heldout(panel: Any, like: Series, value: float) -> None:
    if np.isfinite(value):
        panel.plot(like.update[-1:], [value], "D", color=OTHER, markersize=5, label="held out")
