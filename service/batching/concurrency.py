"""How much company a request may expect, so that a lone caller never waits for any."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_WINDOW_SECONDS = 1.0


@dataclass(slots=True)
class ConcurrencyTracker:
    """Counts requests at work, and remembers the most at once in the last second or two.

    The memory ends early where a wait shows that the crowd has gone: else everyone who comes alone
    in the seconds after a burst would wait for nobody.

    Attributes:
        clock: monotonic seconds.
    """

    clock: Callable[[], float]
    _present: int = field(init=False, default=0)
    _peak: int = field(init=False, default=0)
    _peak_before: int = field(init=False, default=0)
    _window_ends: float = field(init=False, default=0.0)

    @contextmanager
    def member(self) -> Iterator[None]:
        """Be counted while in the block."""
        self._roll()
        self._present += 1
        self._peak = max(self._peak, self._present)
        try:
            yield
        finally:
            self._roll()
            self._present -= 1

    @property
    def expected(self) -> int:
        """The most requests that were at work together in this window or the one before."""
        self._roll()
        return max(self._peak, self._peak_before)

    def reset(self) -> None:
        """Forget whoever isn't at work now: waiting for them was in vain."""
        self._roll()
        self._peak = self._peak_before = self._present

    def _roll(self) -> None:
        now = self.clock()
        if now < self._window_ends:
            return
        fresh = now < self._window_ends + _WINDOW_SECONDS
        self._peak_before = self._peak if fresh else self._present
        self._peak = self._present
        self._window_ends = now + _WINDOW_SECONDS
