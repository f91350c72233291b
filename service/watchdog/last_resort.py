"""The end of a process in which no Python runs any more."""

import faulthandler
import sys
import time
from collections.abc import Callable

GRACE_SECONDS = 5.0
"""How much later than the watchdog's own end; where Python runs, the orderly one comes first."""


def stderr_descriptor() -> int:
    """Where what is written is seen at once: descriptor 2 may be a pipe that Python has to empty.

    See `service.observability.printed`, whose `sys.stderr` names the descriptor behind the pipe.
    """
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # there is none, or it is no file
        return 2


class LastResort:
    """A timer of C, which needs no GIL: it writes the stacks of all threads and ends with code 1.

    A process has one such timer, faulthandler's: it stands at the earliest end of all calls that
    are watched. Not thread-safe.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends_at: float | None = None

    def cover(self, seconds: float) -> None:
        """End the process once `seconds` and the grace have passed, or sooner if that is set."""
        ends_at = self._clock() + seconds + GRACE_SECONDS
        if self._ends_at is None or ends_at < self._ends_at:
            self._set(ends_at)

    def follow(self, seconds: float | None) -> None:
        """The same, whatever was set before; None: no call is watched, and nothing ends."""
        if seconds is not None:
            self._set(self._clock() + max(0.0, seconds) + GRACE_SECONDS)
        elif self._ends_at is not None:
            faulthandler.cancel_dump_traceback_later()
            self._ends_at = None

    def _set(self, ends_at: float) -> None:
        self._ends_at = ends_at
        faulthandler.dump_traceback_later(
            ends_at - self._clock(), exit=True, file=stderr_descriptor()
        )
