"""Seconds in which this process could run."""

import time
from collections.abc import Callable


class RunningClock:
    """Monotonic seconds, less those in which a regular tick did not come.

    A process that was stopped (SIGSTOP, a paused container, a suspended machine) or got no share of
    the processor finds that no time has passed, but for `max_gap`. Until the first tick all seconds
    count.

    Args:
        max_gap: seconds that may pass between two ticks and still count.
        clock: monotonic seconds.
    """

    def __init__(self, max_gap: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_gap = max_gap
        self._clock = clock
        # Both in one attribute: threads read them together.
        self._counted_at = (clock(), clock())
        self._ticks = False

    def __call__(self) -> float:
        """The seconds; thread-safe."""
        counted, at = self._counted_at
        gap = self._clock() - at
        return counted + (min(gap, self._max_gap) if self._ticks else gap)

    def tick(self) -> None:
        """Count what has passed since the last tick; from one thread."""
        self._counted_at = (self(), self._clock())
        self._ticks = True
