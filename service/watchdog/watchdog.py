"""Calls that may hang, and the orderly end of a process in which one does."""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import structlog

from rm_core.errors import EngineClosed
from service.watchdog.last_resort import LastResort
from service.watchdog.limits import Kind
from service.watchdog.running_clock import RunningClock
from service.watchdog.stacks import stacks

EXIT_CODE = 70
"""What the process ends with where an engine is dead or hangs (EX_SOFTWARE of sysexits.h)."""

ANSWER_SECONDS = 4.0
"""How long those who wait have to be told, before the process ends."""

_TICK_SECONDS = 0.5
_END_SECONDS = 3.0  # with the last resort's grace, what the orderly end may take as a whole
_ENGINE: frozenset[Kind] = frozenset({"load", "warm_up", "forward", "plan", "tokenize"})

_log = structlog.get_logger(__name__)


class Watched(Protocol):
    """What must live for requests to be answered: the scheduler."""

    @property
    def death(self) -> str | None:
        """Which of its threads or tasks has ended; None while all live."""
        ...

    def fail_all(self, error: Exception) -> None:
        """Tell whoever waits and whoever comes; on the event loop."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class WatchedCall:
    """A call that a thread is in.

    Attributes:
        kind: what it does.
        thread: the name of the thread.
        seconds: that it may take.
        began: on the watchdog's clock.
    """

    kind: Kind
    thread: str
    seconds: float
    began: float

    @property
    def told(self) -> str:
        """The call, where it has taken too long."""
        return f"{self.kind} in thread {self.thread} has not ended within {self.seconds:.1f} s"


@dataclass(frozen=True, slots=True)
class _Attended:
    watched: Watched
    loop: asyncio.AbstractEventLoop
    num_unanswered: Callable[[], float]


class Watchdog:
    """Knows which calls run and until when they may; ends the process once one may no longer.

    Until `start` it only tells. From then on a thread of its own looks twice a second. What it
    finds dead or overdue ends the process in order: callers are answered, the stacks of all threads
    are logged, and the exit code is 70. While a call of the engine runs, a timer of C stands behind
    that for the case that no Python runs (`LastResort`).

    Only time in which the process could run counts: see `RunningClock`.

    Args:
        end_process: takes the exit code and does not return.

    Attributes:
        clock: seconds in which the process could run.
    """

    def __init__(self, end_process: Callable[[int], object] = os._exit) -> None:
        self._end_process = end_process
        self.clock = RunningClock(max_gap=2.0 * _TICK_SECONDS)
        self._lock = threading.Lock()
        self._calls: set[WatchedCall] = set()
        self._attended: _Attended | None = None
        self._last_resort: LastResort | None = None
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Guard the process from now on; once more does nothing."""
        if self._thread is None:
            self._last_resort = LastResort()
            self._thread = threading.Thread(
                target=self._guard, name="rewardd-watchdog", daemon=True
            )
            self.clock.tick()  # a stop before the first tick of the thread counts as little
            self._thread.start()

    def stop(self) -> None:
        """Guard it no longer."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._follow()
            self._last_resort = None

    def watch(self, kind: Kind, seconds: float) -> AbstractContextManager[None]:
        """While in the block, which may take so many seconds, a call runs in this thread."""
        return _Watching(self, kind, seconds)

    def _begin(self, call: WatchedCall) -> None:
        with self._lock:
            self._calls.add(call)
            if self._last_resort is not None and call.kind in _ENGINE:
                self._last_resort.cover(call.seconds)

    def _over(self, call: WatchedCall) -> None:
        with self._lock:
            self._calls.discard(call)
            # At once, not at the next tick: a process that is stopped while idle may stay so.
            if call.kind == "forward":
                self._follow()

    def attend(
        self,
        watched: Watched,
        loop: asyncio.AbstractEventLoop,
        num_unanswered: Callable[[], float],
    ) -> None:
        """See that these threads and tasks live as well, until `leave`.

        Args:
            watched: they, and how to tell those who wait for them.
            loop: on which to tell.
            num_unanswered: requests that have no reply yet; thread-safe.
        """
        self._attended = _Attended(watched, loop, num_unanswered)

    def leave(self) -> None:
        """Their end is none to wonder at from now on."""
        self._attended = None

    @property
    def cause(self) -> str | None:
        """Why the process ends: what is dead or has taken too long; None while all is well."""
        attended = self._attended
        if attended is not None and (death := attended.watched.death) is not None:
            return death
        now = self.clock()
        with self._lock:
            overdue = [call for call in self._calls if now - call.began > call.seconds]
        return min(overdue, key=lambda call: call.began).told if overdue else None

    def _guard(self) -> None:
        while not self._stopped.wait(_TICK_SECONDS):
            self.clock.tick()
            cause = self.cause
            if cause is not None:
                self._end(cause)
                return
            with self._lock:
                self._follow()

    def _follow(self) -> None:
        """Set the last resort by what runs now."""
        if self._last_resort is None:
            return
        now = self.clock()
        left = [call.began + call.seconds - now for call in self._calls if call.kind in _ENGINE]
        self._last_resort.follow(min(left, default=None))

    def _end(self, cause: str) -> None:
        """Answer whoever waits, say where every thread is, end."""
        with self._lock:
            if self._last_resort is not None:  # even logging may hang, on a full pipe
                self._last_resort.follow(_END_SECONDS)
                self._last_resort = None
        attended = self._attended
        if attended is not None:
            error = EngineClosed(cause)
            with contextlib.suppress(RuntimeError):  # the loop is closed
                attended.loop.call_soon_threadsafe(attended.watched.fail_all, error)
        _log.critical("engine_dead", cause=cause, exit_code=EXIT_CODE, stacks=stacks())
        if attended is not None:
            give_up = time.monotonic() + ANSWER_SECONDS
            while attended.num_unanswered() > 0 and time.monotonic() < give_up:
                time.sleep(0.05)
        self._end_process(EXIT_CODE)


class _Watching:
    """See `Watchdog.watch`; a class, as it surrounds every tokenising and every forward pass."""

    __slots__ = ("_call", "_kind", "_seconds", "_watchdog")

    def __init__(self, watchdog: Watchdog, kind: Kind, seconds: float) -> None:
        self._watchdog = watchdog
        self._kind = kind
        self._seconds = seconds

    def __enter__(self) -> None:
        thread = threading.current_thread().name
        self._call = WatchedCall(self._kind, thread, self._seconds, self._watchdog.clock())
        self._watchdog._begin(self._call)

    def __exit__(self, *_: object) -> None:
        self._watchdog._over(self._call)
