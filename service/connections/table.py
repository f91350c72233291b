"""All connections together: how many there may be, who gives way, and who is late."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from service.connections.deadlines import Deadlines, Phase
from service.connections.limits import RESERVED_PLACES, ConnectionLimits
from service.connections.metrics import ConnectionMetrics
from service.connections.refusals import Refusal, too_many_connections
from service.observability.metrics import Metrics

Application = Callable[[Any, Any, Any], Awaitable[None]]

ALWAYS_ANSWERED = frozenset({"/health", "/health/live", "/health/ready"})

LINGER_SECONDS = 2.0
"""How long the rest of a refused body is taken and thrown away, so that its sender reads why."""

_UNMATCHED = "unmatched"
_TICK_SECONDS = 0.25
_AT_ONCE = 128  # late connections that are closed before others get their turn
_SUSPECT_SECONDS = 1.0


class Connection(Protocol):
    """What the table asks of a connection."""

    phase: Phase | None

    def overdue(self, phase: Phase) -> None:
        """The phase's time is over."""

    def give_way(self) -> None:
        """Close: another one needs the place."""

    def unread_bytes(self) -> int:
        """What was written and not yet taken by the peer's side."""

    def cut(self) -> None:
        """Drop the connection with what was written."""


class Connections:
    """The table of connections of one server.

    Args:
        limits: of one and of all.
        metrics: of the app.
        instruments: of its connections.
        loop: whose clock the deadlines are on.
    """

    def __init__(
        self,
        limits: ConnectionLimits,
        metrics: Metrics,
        instruments: ConnectionMetrics,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.limits = limits
        self._loop = loop
        self._metrics = metrics
        self._open: set[Connection] = set()
        self._reserved: dict[Connection, None] = {}  # in order of arrival
        self._instruments = instruments
        instruments.watch(limits.connections, lambda: len(self._open) + len(self._reserved))
        seconds = {
            Phase.HEADERS: limits.header_seconds,
            Phase.BODY: limits.body_seconds,
            Phase.IDLE: limits.idle_seconds,
            Phase.DISCARD: LINGER_SECONDS,
            Phase.CLOSING: limits.write_seconds,
        }
        self.deadlines: Deadlines[Connection] = Deadlines(seconds, self._now)
        self._no_place = too_many_connections()
        self._unread: dict[Connection, tuple[float, int]] = {}
        self._tick: asyncio.TimerHandle | None = None

    def admit(self, connection: Connection) -> bool:
        """Take a new connection in.

        At the cap another one gives way: the oldest of those that still owe the headers of a
        request after a second, else the oldest that is idle.

        Returns:
            Whether it has a place; if not, it is a reserved one, of which the oldest gives way.
        """
        if self._tick is None:
            self._loop = self._loop or asyncio.get_running_loop()
            self._tick = self._loop.call_later(_TICK_SECONDS, self._sweep)
        if len(self._open) < self.limits.connections or self._make_place():
            self._open.add(connection)
            return True
        if len(self._reserved) >= RESERVED_PLACES:
            self.closed("capacity")
            oldest = next(iter(self._reserved))
            del self._reserved[oldest]
            oldest.cut()
        self._reserved[connection] = None
        return False

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        self._open.discard(connection)
        self._reserved.pop(connection, None)
        self._unread.pop(connection, None)
        self.deadlines.enter(connection, None)

    def writing_paused(self, connection: Connection) -> None:
        """The peer doesn't read: its time begins."""
        self._unread[connection] = (self._now(), connection.unread_bytes())

    def writing_resumed(self, connection: Connection) -> None:
        """The peer reads on."""
        self._unread.pop(connection, None)

    def refused(self, refusal: Refusal) -> None:
        """A request was answered without the application."""
        self._metrics.answered(_UNMATCHED, "other", refusal.status, 0.0)

    def closed(self, reason: str) -> None:
        """A connection is closed for a reason of `CLOSED_REASONS`."""
        self._instruments.closed.labels(reason).inc()

    def health_alone(self, app: Application) -> Application:
        """An application of which /health alone is answered; the rest is refused."""
        refusal = self._no_place

        async def answer(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["path"] not in ALWAYS_ANSWERED:
                self.refused(refusal)
                status, headers = refusal.status, list(refusal.headers)
                await send({"type": "http.response.start", "status": status, "headers": headers})
                await send({"type": "http.response.body", "body": refusal.body})
            else:
                await app(scope, receive, send)

        return answer

    def _make_place(self) -> bool:
        late = self.deadlines.oldest(Phase.HEADERS, self._open, seconds=_SUSPECT_SECONDS)
        oldest = late or self.deadlines.oldest(Phase.IDLE, self._open)
        if oldest is None:
            return False
        self.closed("capacity")
        self._open.discard(oldest)
        oldest.give_way()
        return True

    def _sweep(self) -> None:
        late = self.deadlines.overdue(_AT_ONCE)
        for connection, phase in late:
            connection.overdue(phase)
        for connection in self._not_reading():
            self.closed("writing")
            connection.cut()
        assert self._loop is not None  # noqa: S101 (set where the first tick was)
        wait = 0.0 if len(late) == _AT_ONCE else _TICK_SECONDS
        self._tick = None
        if self._open or self._reserved or late:
            self._tick = self._loop.call_later(wait, self._sweep)

    def _not_reading(self) -> list[Connection]:
        """Who took less than a buffer's worth of what was written, for too long."""
        now = self._now()
        due = [
            (connection, unread)
            for connection, (since, unread) in self._unread.items()
            if now - since >= self.limits.write_seconds
        ]
        found = []
        for connection, unread in due[:_AT_ONCE]:
            left = connection.unread_bytes()
            if left <= unread - _LEAST_READ_BYTES:
                self._unread[connection] = (now, left)
            else:
                del self._unread[connection]
                found.append(connection)
        return found

    def _now(self) -> float:
        return 0.0 if self._loop is None else self._loop.time()


_LEAST_READ_BYTES = 64 * 1024
"""What a peer that reads takes of a long reply in the time for writing, at the very least."""
