"""The lines between the reader and the writer of an NDJSON stream: in order, in bounded memory."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

_MAX_LINES = 64


class Window:
    """Lines that were read and not yet written.

    Args:
        max_bytes: of them; one line may be more.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lines: deque[tuple[asyncio.Task[dict[str, Any]], int]] = deque()
        self._bytes = 0
        self._ended = False
        self._notified = asyncio.Event()

    @property
    def is_scoring(self) -> bool:
        """Whether the next line to be written has no result yet."""
        return bool(self._lines) and not self._lines[0][0].done()

    async def wait_for_room(self, num_bytes: int) -> None:
        """Return once a line of so many bytes may be read."""
        while self._lines and (
            len(self._lines) >= _MAX_LINES or self._bytes + num_bytes > self._max_bytes
        ):
            self._notified.clear()
            await self._notified.wait()

    def add(self, task: asyncio.Task[dict[str, Any]], num_bytes: int) -> None:
        """Put a line that is at work behind the others."""
        self._lines.append((task, num_bytes))
        self._bytes += num_bytes
        self._notified.set()

    def end(self) -> None:
        """No line comes after those that are here."""
        self._ended = True
        self._notified.set()

    def abandon(self) -> None:
        """Take back the lines that were not written."""
        for task, _ in self._lines:
            task.cancel()
        self._lines.clear()
        self.end()

    async def results(self) -> AsyncIterator[dict[str, Any]]:
        """What became of each line, in order; a line keeps its place until the next is asked for.

        Else the window would not bound what waits to be written.
        """
        while True:
            while not self._lines:
                if self._ended:
                    return
                self._notified.clear()
                await self._notified.wait()
            task, num_bytes = self._lines[0]
            yield await task
            if self._lines:
                self._lines.popleft()
            self._bytes -= num_bytes
            self._notified.set()
