"""The state's own time, by which what it remembers grows old, whatever the wall clock does.

It never goes back: its high-water mark is in the state file. While a process runs it follows the
monotonic clock, so that a wall clock set to another year changes nothing. From one process to the
next it follows the wall clock, but by five minutes at most: a jump ages neither a day's keys nor
the quarter of an hour of a lost reply at once, and none that goes back keeps them for ever, since
every second of a running server counts.
"""

import time
from collections.abc import Callable

MAX_STEP_SECONDS = 300.0
"""The most that the state ages while no process runs."""


class StateClock:
    """Seconds, about those of the wall clock.

    Args:
        wall: unix time in seconds; looked at once, by `start`.
        monotonic: seconds that nobody can set.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._ahead = 0.0

    def start(self, high_water: float | None) -> None:
        """Go on from where the state's time stood when it was last written.

        Args:
            high_water: that time; None: the state is new.
        """
        now = self._wall()
        if high_water is not None:
            now = min(max(now, high_water), high_water + MAX_STEP_SECONDS)
        self._ahead = now - self._monotonic()

    def now(self, high_water: float = 0.0) -> float:
        """The state's time, at least what another process has written."""
        own = self._monotonic() + self._ahead
        if own < high_water:
            self._ahead += high_water - own
            return high_water
        return own
