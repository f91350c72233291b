"""Which scorers requests wait for: a replaced one is let go when its last request is over."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rm_core.types import Scorer


class ScorersInUse:
    """Counts the requests of each scorer; belongs to one event loop."""

    def __init__(self) -> None:
        self._requests: Counter[int] = Counter()
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}

    @contextmanager
    def member(self, scorer: Scorer) -> Iterator[None]:
        """Count a request of this scorer while in the block."""
        own = id(scorer)
        self._requests[own] += 1
        try:
            yield
        finally:
            self._requests[own] -= 1
            if not self._requests[own]:
                del self._requests[own]
                for waiting in self._waiting.pop(own, ()):
                    if not waiting.done():
                        waiting.set_result(None)

    async def until_unused(self, scorer: Scorer) -> None:
        """Wait until no request of this scorer is left."""
        if id(scorer) in self._requests:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(id(scorer), []).append(waiting)
            await waiting
