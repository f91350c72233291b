"""Percentiles as HdrHistogram writes them, from the samples themselves: nothing is binned away."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

HALVINGS_PER_TICK = 5
SUMMARY = (50.0, 90.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the percentile distribution.

    Attributes:
        value_ms: no more than `percentile` of the samples lie above it.
        percentile: 0 to 100.
        count: samples at or below the value.
    """

    value_ms: float
    percentile: float
    count: int


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest sample that at least `percent` per cent of the samples do not exceed.

    Args:
        ordered: ascending, not empty.
        percent: 0 to 100.
    """
    if not ordered:
        raise ValueError("no samples, no percentile")
    # A float product such as 0.07 · 100 must not step over a whole number.
    rank = math.ceil(round(percent / 100 * len(ordered), 9))
    return ordered[min(len(ordered), max(1, rank)) - 1]


def is_resolved(percent: float, num_samples: int) -> bool:
    """Whether at least ten samples lie above the percentile, so that it says something."""
    return num_samples * (100 - percent) / 100 >= 10 - 1e-9


def distribution(samples_ms: Sequence[float]) -> list[Row]:
    """Percentiles in steps that halve with the distance to 100 %, up to the largest sample."""
    ordered = sorted(samples_ms)
    if not ordered:
        return []
    rows: list[Row] = []
    level = 0.0
    while True:
        value = percentile(ordered, level)
        count = max(1, math.ceil(round(level / 100 * len(ordered), 9)))
        rows.append(Row(value, level, count))
        left = 100.0 - level
        if left * len(ordered) < 100.0:  # less than one sample is left
            break
        ticks = 2 ** (math.floor(math.log2(100.0 / left)) + 1) * HALVINGS_PER_TICK
        level += 100.0 / ticks
    rows.append(Row(ordered[-1], 100.0, len(ordered)))
    return rows


def summary(samples_ms: Sequence[float]) -> dict[str, float | None]:
    """The usual percentiles and the largest sample; None where too few samples lie above."""
    ordered = sorted(samples_ms)
    values: dict[str, float | None] = {
        f"p{percent:g}": percentile(ordered, percent)
        if is_resolved(percent, len(ordered))
        else None
        for percent in SUMMARY
    }
    if ordered:
        # The median is worth having from the first sample on.
        values["p50"] = percentile(ordered, 50.0)
        values["max"] = ordered[-1]
    return values
