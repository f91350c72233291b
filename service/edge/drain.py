"""The end of a server's connections, in order: nobody who was accepted goes without an answer.

Idle connections are closed, NDJSON streams end after the lines that were read, and requests get the
time that the settings allow. Who doesn't take an answer, or doesn't send the rest of a request, is
cut off before it is over.
"""

import asyncio
import contextlib
import select
from collections.abc import Set
from typing import Any, Protocol

import structlog

from service.state import AppState

_REFUSE_AT = 0.8
"""After this share of the drain's time whoever still waits is answered: go elsewhere."""
_CUT_AT = 0.9
"""After this share whoever keeps us waiting is cut off."""
_LOOK_SECONDS = 0.02
_LEAVE_SECONDS = 1.0
"""How long a request that was cut off may take to notice."""

_log = structlog.get_logger(__name__)


class Connection(Protocol):
    """What the drain needs of a connection of uvicorn's."""

    transport: asyncio.Transport
    flow: Any
    cycle: Any

    def shutdown(self) -> None:
        """Close if idle, else after the present answer."""


class Drain:
    """One server's.

    Args:
        connections: that are open; they leave it as they end.
        tasks: the requests at work, which leave it as well.
        state: of the service.
        timeout_seconds: for all of it.
    """

    def __init__(
        self,
        connections: Set[Connection],
        tasks: Set["asyncio.Task[None]"],
        state: AppState,
        timeout_seconds: float,
    ) -> None:
        self._connections = connections
        self._tasks = tasks
        self._state = state
        self._timeout_seconds = timeout_seconds

    async def run(self, at_once: asyncio.Event) -> bool:
        """Wait until the last connection has ended, and end what doesn't end by itself.

        Args:
            at_once: set where nobody wants to wait any longer.

        Returns:
            Whether everybody who was accepted, and took it, was answered.
        """
        began = asyncio.get_running_loop().time()
        self._state.last_call.set()
        for share, then in ((_REFUSE_AT, self._state.scheduler.stop_waiting), (_CUT_AT, self._cut)):
            if await self._all_ended(began + share * self._timeout_seconds, at_once):
                return True
            then()
        if await self._all_ended(began + self._timeout_seconds, at_once):
            return True
        cut_off = sum(not _keeps_us_waiting(one) for one in self._connections)
        await self._cut_all()
        return not cut_off

    async def _all_ended(self, deadline: float, at_once: asyncio.Event) -> bool:
        now = asyncio.get_running_loop().time
        while self._connections or self._tasks:
            self._close_idle()
            if at_once.is_set() or now() >= deadline:
                return False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await at_once.wait()
        return True

    def _close_idle(self) -> None:
        for connection in list(self._connections):
            # What has come in the meantime was accepted, and its answer closes the connection.
            if not _is_idle(connection) or not _has_unread(connection):
                connection.shutdown()

    def _cut(self) -> None:
        """Cut off who doesn't take an answer, and who doesn't send the rest of a request."""
        slow = [one for one in self._connections if _keeps_us_waiting(one)]
        if slow:
            _log.warning("slow_peers_cut", connections=len(slow))
        for connection in slow:
            connection.transport.abort()

    async def _cut_all(self) -> None:
        _log.warning("requests_cut", requests=len(self._tasks))
        for connection in list(self._connections):
            connection.transport.abort()
        # Work that is told of its caller's end ends by itself; what isn't told is cancelled.
        for cancelled in (False, True):
            if not self._tasks:
                break
            if cancelled:
                for task in list(self._tasks):
                    task.cancel()
            await asyncio.wait(list(self._tasks), timeout=_LEAVE_SECONDS)


def _is_idle(connection: Connection) -> bool:
    return connection.cycle is None or bool(connection.cycle.response_complete)


def _keeps_us_waiting(connection: Connection) -> bool:
    """Whether it's the peer's turn: to take what was written, or to send what is missing."""
    cycle = connection.cycle
    if _is_idle(connection) or connection.flow.write_paused:
        return True
    return bool(cycle.more_body and not cycle.response_started)


def _has_unread(connection: Connection) -> bool:
    """Whether bytes of a next request have come that weren't read."""
    cycle = connection.cycle
    if cycle is not None and cycle.more_body:
        return False  # they are the rest of a body that was answered before its end
    descriptor = connection.transport.get_extra_info("socket").fileno()
    if descriptor < 0 or connection.transport.is_closing():
        return False
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return any(events & select.POLLIN for _, events in poll.poll(0))
