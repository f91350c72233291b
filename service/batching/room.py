"""One bounded thing of the queue, items or tokens: who holds how much of it, and who may have more.

The bound is exact. Within it those who wait for room hold three quarters at most and bulk work as a
whole seven eighths: the rest is for interactive work. Once a second caller was seen, nobody has the
last quarter for himself alone: a flow that holds some gets no more of it than it leaves free.
"""

from collections import Counter
from collections.abc import Hashable, Mapping

from service.batching.line import Line
from service.batching.queue import Flow


class Room:
    """So much of something, given to flows and taken back.

    Args:
        capacity: how much there is.

    Attributes:
        capacity: how much there is.
        held: how much of it is held.
        line: who waits for some, in turn; what is free is theirs first until they have their part.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.held = 0
        self.line = Line(self._take_in_line, self._return_in_line)
        self._by_flow: Counter[Flow] = Counter()
        self._bulk = 0
        self._waiters = 0
        self._callers: set[bytes] = set()

    @property
    def by_flow(self) -> Mapping[Flow, int]:
        """How much each flow holds."""
        return self._by_flow

    @property
    def waiters_part(self) -> int:
        """The most that is held by those who waited for it."""
        return max(1, self.capacity * 3 // 4)

    @property
    def bulk_part(self) -> int:
        """The most that bulk work holds, but for a request that is larger and finds none."""
        return self.capacity - self.capacity // 8

    def has(self, amount: int, flow: Flow) -> bool:
        """Whether a flow may take so much without waiting."""
        self._callers.add(flow.caller)
        owed = self._owed(flow)
        free = self.capacity - self.held - owed
        if amount > free:
            return False
        if flow.priority == "bulk" and not self._in_bulk_part(amount + owed):
            return False
        if len(self._callers) < 2 or self.held + amount <= self.waiters_part:
            return True
        own = self._by_flow[flow]
        return own == 0 or own + amount <= free - amount

    def take(self, amount: int, flow: Flow, *, waited: bool = False) -> None:
        """Give a flow so much; `waited`: by way of the line."""
        self.held += amount
        self._by_flow[flow] += amount
        if flow.priority == "bulk":
            self._bulk += amount
        if waited:
            self._waiters += amount

    def give_back(self, amount: int, flow: Flow, *, waited: bool = False) -> None:
        """Undo `take`; whoever is first in line gets what he waits for."""
        self.take(-amount, flow, waited=waited)
        if not self._by_flow[flow]:
            del self._by_flow[flow]
        self.line.serve()

    async def wait_for(self, amount: int, flow: Flow, request: Hashable) -> None:
        """Stand in line, see `Line.join`, until a flow of bulk work has so much."""
        self._callers.add(flow.caller)
        await self.line.join(amount, flow, request)

    def _owed(self, flow: Flow) -> int:
        """What is the first in line's as soon as it is free."""
        wanted = self.line.first_wants
        if not self._in_waiters_part(wanted):
            return 0
        if flow.priority == "interactive" and not self._in_bulk_part(wanted):
            return 0
        return wanted

    def _in_waiters_part(self, amount: int) -> bool:
        # One who wants more than the part goes alone.
        return self._waiters == 0 or self._waiters + amount <= self.waiters_part

    def _in_bulk_part(self, amount: int) -> bool:
        return self._bulk == 0 or self._bulk + amount <= self.bulk_part

    def _take_in_line(self, amount: int, flow: Flow) -> bool:
        fits = self._in_waiters_part(amount) and self._in_bulk_part(amount)
        if not fits or self.held + amount > self.capacity:
            return False
        self.take(amount, flow, waited=True)
        return True

    def _return_in_line(self, amount: int, flow: Flow) -> None:
        self.give_back(amount, flow, waited=True)
