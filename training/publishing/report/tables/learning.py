"""Table of how the training went, from the trainer's log."""

from collections.abc import Callable, Sequence

from training.evaluation.tables.cells import Table, percent
from training.optimization.history import LogRow
from training.publishing.report.inputs import ReportInputs

_SHOWN: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("loss", "loss", lambda value: f"{value:.4f}"),
    ("accuracy", "accuracy", percent),
)


def learning_table(inputs: ReportInputs) -> Table:
    """Updates, what was logged first and last, the largest gradient, time."""
    rows = inputs.history
    found: list[tuple[str, str]] = [("updates", f"{_last(rows, 'step') or 0:,.0f}")]
    found.append(("epochs", f"{_last(rows, 'epoch') or 0:.3g}"))
    for name, what, show in _SHOWN:
        values = [row[name] for row in rows if name in row]
        if values:
            found.append((f"{what}, first logged", show(values[0])))
            found.append((f"{what}, last logged", show(values[-1])))
    norms = [row["grad_norm"] for row in rows if "grad_norm" in row]
    if norms:
        found.append(("largest gradient norm logged", f"{max(norms):.3g}"))
        clipped = sum(norm > inputs.config.max_grad_norm for norm in norms)
        found.append(("logged updates that were clipped", f"{clipped:,} of {len(norms):,}"))
    seconds = _last(rows, "train_runtime")
    if seconds is not None:
        found.append(("seconds of training", f"{seconds:,.1f}"))
    return Table("How it went", ("", "value"), tuple(found), _note(inputs))


def _last(rows: Sequence[LogRow], name: str) -> float | None:
    return next((row[name] for row in reversed(rows) if name in row), None)


def _note(inputs: ReportInputs) -> str:
    weights = inputs.config.weights
    if len(weights) == 1:
        return ""
    terms = " + ".join(f"{weight:g} × {name.replace('_', ' ')}" for name, weight in weights.items())
    return f"The loss is {terms}."
