"""Learning curves: what HF `Trainer` logged, as series over updates."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import TrainerCallback

MOST_POINTS = 400
"""Of one curve on the page; a picture this wide shows no more."""

LogRow = Mapping[str, float]
"""One line of the trainer's log: figures by name, among them "step", the update."""


class Series(NamedTuple):
    """One figure over updates.

    Attributes:
        update: after which update each value was logged, (n,).
        value: finite, (n,).
    """

    update: NDArray[np.float64]
    value: NDArray[np.float64]


class HistoryNote(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Keeps the trainer's log once the training has ended; of a resumed run, all of it.

    Attributes:
        rows: empty until then.
    """

    def __init__(self) -> None:
        self.rows: tuple[LogRow, ...] = ()

    def on_train_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Take the log over."""
        self.rows = tuple(dict(row) for row in state.log_history)


def series(rows: Sequence[LogRow], name: str) -> Series | None:
    """One figure over updates; None where it was logged less than twice.

    Args:
        rows: the log.
        name: of the figure; rows without it, or with a value that is not finite, are passed over.
    """
    found = [
        (float(row["step"]), float(row[name]))
        for row in rows
        if name in row and "step" in row and np.isfinite(row[name])
    ]
    if len(found) < 2:
        return None
    update, value = np.array(found, dtype=np.float64).T
    return Series(update, value)


def thinned(found: Series, most: int = MOST_POINTS) -> Series:
    """The same curve with no more points than are seen: means of neighbours."""
    if len(found.update) <= most:
        return found
    starts = np.unique(np.linspace(0, len(found.update), most + 1).astype(np.int64))[:-1]
    counts = np.diff([*starts, len(found.update)])
    return Series(*(np.add.reduceat(column, starts) / counts for column in found))


def smoothed(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over about a tenth of the curve around each point; fewer points at its ends."""
    reach = len(value) // 20
    sums = np.concatenate([[0.0], np.cumsum(value)])
    at = np.arange(len(value))
    low, high = np.maximum(at - reach, 0), np.minimum(at + reach + 1, len(value))
    means: NDArray[np.float64] = (sums[high] - sums[low]) / (high - low)
    return means
