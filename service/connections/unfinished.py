"""Bodies that are still arriving, bounded together: the one that takes longest gives way."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from service.problems import Problem
from service.settings import Settings

RATE_GRACE_SECONDS = 5.0
"""From then on a body is measured by its rate."""


class UnfinishedBodies:
    """What all bodies that are being read hold together.

    A body on a good link is there within milliseconds, so the oldest is the likeliest to be held
    back on purpose.

    Args:
        settings: the limits of one body and of all.
    """

    def __init__(self, settings: Settings) -> None:
        self.max_bytes = settings.max_body_bytes
        self._max_together = settings.max_unfinished_body_bytes
        self._seconds = settings.body_timeout_seconds
        self._least_rate = settings.min_body_bytes_per_second
        self._bodies: dict[UnfinishedBody, None] = {}  # in order of arrival
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._bodies)

    def new(self) -> "UnfinishedBody":
        """A body of which nothing has come yet; a context that ends with the body."""
        loop = asyncio.get_running_loop()
        return UnfinishedBody(self, loop.time, self._seconds, self._least_rate)

    def add(self, body: "UnfinishedBody") -> None:
        """Begin to count a body."""
        self._bodies[body] = None

    def grow(self, num_bytes: int) -> None:
        """Count further bytes, and let the oldest bodies give way where they are too many."""
        self.num_bytes += num_bytes
        while self.num_bytes > self._max_together:
            oldest = next(iter(self._bodies))
            oldest.give_way()

    def remove(self, body: "UnfinishedBody", num_bytes: int) -> None:
        """Count a body no more."""
        if body in self._bodies:
            del self._bodies[body]
            self.num_bytes -= num_bytes


class UnfinishedBody:
    """One body while it arrives: its bytes and its deadlines.

    Args:
        bodies: all of them.
        clock: monotonic seconds, the event loop's.
        seconds: in which the whole body has to come.
        least_rate: bytes per second that have to come on average after `RATE_GRACE_SECONDS`.
    """

    def __init__(
        self,
        bodies: UnfinishedBodies,
        clock: Callable[[], float],
        seconds: float,
        least_rate: float,
    ) -> None:
        self._bodies = bodies
        self._began = clock()
        self._seconds = seconds
        self._least_rate = least_rate
        self._given_way = False
        self.content = bytearray()
        self._timeout = asyncio.timeout_at(self._due())

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._bodies.add(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bodies.remove(self, len(self.content))
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError:
            raise self._problem() from None

    def take(self, chunk: bytes) -> None:
        """Add what has come.

        Raises:
            Problem: 413, the body is too large; 503, it gives way to others itself.
        """
        if self._given_way:
            raise self._problem()
        if not chunk:
            return
        self.content += chunk
        if len(self.content) > self._bodies.max_bytes:
            self._bodies.remove(self, len(self.content) - len(chunk))
            raise body_too_large(self._bodies.max_bytes)
        self._bodies.grow(len(chunk))
        if self._given_way:
            raise self._problem()
        self._timeout.reschedule(self._due())

    def give_way(self) -> None:
        """Let go of what has come; whoever reads the body is told at its next step."""
        self._given_way = True
        self._bodies.remove(self, len(self.content))
        self.content.clear()
        self._timeout.reschedule(self._began)

    def _due(self) -> float:
        whole = self._began + self._seconds
        if self._least_rate == 0.0:
            return whole
        by_rate = RATE_GRACE_SECONDS + len(self.content) / self._least_rate
        return min(whole, self._began + by_rate)

    def _problem(self) -> Problem:
        if self._given_way:
            return Problem(
                503,
                "too_many_unfinished_bodies",
                "Too many bodies are arriving at once, and this one took longest; send it again.",
                headers={"Retry-After": "1"},
            )
        detail = f"The body did not arrive within {self._seconds:g} s"
        if self._least_rate > 0.0:
            detail += f", or came slower than {self._least_rate:g} bytes per second"
        return Problem(408, "body_timeout", f"{detail}.")


def body_too_large(max_bytes: int) -> Problem:
    """The body is larger than `max_bytes`."""
    return Problem(
        413,
        "body_too_large",
        f"The body is larger than {max_bytes} bytes. Send fewer items per request, or NDJSON.",
    )
