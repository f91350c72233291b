"""A table as plain data, and how figures are written in its cells."""

from dataclasses import dataclass

from training.evaluation.accuracy import Accuracy
from training.evaluation.figures import Figures
from training.statistics.intervals import Estimate, Interval

ABSENT = "–"
"""What stands where there is not enough data."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text.

    Attributes:
        title: what it shows.
        columns: headings; the first column names the row.
        rows: each as long as `columns`.
        note: how to read it; empty for nothing.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def counted(number: int, thing: str) -> str:
    """A number of things: "1 prompt", "2 prompts"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def percent(value: float | None, interval: Interval | None = None) -> str:
    """A share, with its interval where there is one: "81.0 % (76.3–85.7)"."""
    if value is None:
        return ABSENT
    text = f"{100 * value:.1f} %"
    return (
        text if interval is None else f"{text} ({100 * interval.low:.1f}–{100 * interval.high:.1f})"
    )


def signed(value: float | None, interval: Interval | None = None) -> str:
    """A number that may be negative, with its interval: "+0.312 (+0.20 to +0.42)"."""
    if value is None:
        return ABSENT
    text = f"{value:+.3f}"
    return text if interval is None else f"{text} ({interval.low:+.2f} to {interval.high:+.2f})"


def plain(value: float | None, interval: Interval | None = None) -> str:
    """A number in a unit of its own, with its interval: "3.25 (3.10–3.40)"."""
    if value is None:
        return ABSENT
    text = f"{value:.3g}"
    return text if interval is None else f"{text} ({interval.low:.3g}–{interval.high:.3g})"


def share(estimate: Estimate | None) -> str:
    """An estimated share with its interval."""
    return ABSENT if estimate is None else percent(estimate.value, estimate.interval)


def number(estimate: Estimate | None) -> str:
    """An estimated signed number with its interval."""
    return ABSENT if estimate is None else signed(estimate.value, estimate.interval)


def interval_cell(interval: Interval) -> str:
    """An interval of a share by itself: "76.3–85.7 %"."""
    return f"{100 * interval.low:.1f}–{100 * interval.high:.1f} %"


def accuracy_cell(accuracy: Accuracy | None) -> str:
    """An accuracy with its interval by prompts."""
    return ABSENT if accuracy is None else percent(accuracy.value, accuracy.bootstrap)


def name_of(figures: Figures) -> str:
    """What a table calls a scorer."""
    return figures.scorer.name.replace("_", " ")
