"""By when each connection has to go on: one line for each phase, the longest there first.

All of a phase have the same time, so who entered first is due first: no timer for each connection,
and nothing is looked at but what is due.
"""

import enum
from collections.abc import Callable, Collection, Mapping
from typing import Generic, Protocol, TypeVar


class Phase(enum.Enum):
    """What a connection's peer owes."""

    HEADERS = "headers"
    """The rest of a request's headers, or the first request of all."""
    BODY = "body"
    """More of a body that the application wants to read."""
    IDLE = "idle"
    """Another request, or nothing."""
    DISCARD = "discard"
    """The rest of a body whose request has been answered; nobody wants it."""
    CLOSING = "closing"
    """To take what was written, before the connection is closed."""


class Phased(Protocol):
    """What stands in these lines."""

    phase: Phase | None


C = TypeVar("C", bound=Phased)


class Deadlines(Generic[C]):
    """The connections whose peer owes something; the others are in no line.

    Args:
        seconds: how long a connection may be in each phase.
        clock: monotonic seconds.
    """

    def __init__(self, seconds: Mapping[Phase, float], clock: Callable[[], float]) -> None:
        self._seconds = dict(seconds)
        self._clock = clock
        self._lines: dict[Phase, dict[C, float]] = {phase: {} for phase in Phase}

    def enter(self, connection: C, phase: Phase | None) -> None:
        """Begin a phase's time anew; None: the peer owes nothing."""
        if connection.phase is not None:
            self._lines[connection.phase].pop(connection, None)
        connection.phase = phase
        if phase is not None:
            self._lines[phase][connection] = self._clock()

    def oldest(self, phase: Phase, among: Collection[C], *, seconds: float = 0.0) -> C | None:
        """Who of some has been in a phase for longest, if it is at least so long."""
        now = self._clock()
        for connection, since in self._lines[phase].items():
            if now - since < seconds:
                return None
            if connection in among:
                return connection
        return None

    def overdue(self, most: int) -> list[tuple[C, Phase]]:
        """Whose time is over, `most` of them at most; whoever asks moves them on."""
        now = self._clock()
        found: list[tuple[C, Phase]] = []
        for phase, line in self._lines.items():
            allowed = self._seconds[phase]
            for connection, since in line.items():
                if now - since < allowed or len(found) == most:
                    break
                found.append((connection, phase))
        return found
