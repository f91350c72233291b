"""Who may join the queue: exact bounds, and how long the wait will be.

Requests that wait for room stand in line, see `Line`. They fill at most three quarters of the
queue, so that those who don't wait find room too; until then what is given back is theirs first.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rm_core.engine.packing.cost import saved_tokens
from rm_core.engine.packing.policy import Priority
from service.batching.line import Line
from service.errors import QueueFull

_MAX_RETRY_AFTER_SECONDS = 120
_RATE_MEMORY = 0.9
_PLACES_AT_ONCE = 64
"""So many of a waiting request's places are asked for together; then others have their turn."""
REQUEST_BYTES = 40 * 1024
"""What a request that waits costs beside its body: connection, task, parsed form; measured."""


@dataclass(slots=True)
class Admission:
    """Counts what is admitted and not finished; the device's present pack counts too.

    Attributes:
        max_items: bound on items.
        max_tokens: bound on tokens.
        max_pack_tokens: how much bulk work may be on the device when interactive work arrives.
        bulk_every_packs: how many packs one with bulk work first comes in.
        max_waiting_bytes: bound on the bodies of requests that wait.
        items: admitted and not finished.
        waiting_bytes: of bodies that wait.
        places: the line for items.
        budget: the line for tokens, of those who have their places.
    """

    max_items: int
    max_tokens: int
    max_pack_tokens: int
    bulk_every_packs: int = 4
    max_waiting_bytes: int = 1 << 29
    items: int = field(init=False, default=0)
    waiting_bytes: int = field(init=False, default=0)
    places: Line = field(init=False)
    budget: Line = field(init=False)
    _waiters_items: int = field(init=False, default=0)
    _waiters_tokens: int = field(init=False, default=0)
    _tokens: dict[Priority, int] = field(
        init=False, default_factory=lambda: {"interactive": 0, "bulk": 0}
    )
    _cached: dict[Priority, int] = field(
        init=False, default_factory=lambda: {"interactive": 0, "bulk": 0}
    )
    _done_tokens: float = field(init=False, default=0.0)
    _done_seconds: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.places = Line(self._take_places, self._return_places)
        self.budget = Line(self._take_tokens, self._return_tokens)

    @property
    def tokens(self) -> int:
        """Tokens admitted and not finished."""
        return sum(self._tokens.values())

    @property
    def places_at_once(self) -> int:
        """How many places a request that waits asks for at a time."""
        return max(1, min(_PLACES_AT_ONCE, _share(self.max_items) // 4))

    def admit_items(self, count: int, priority: Priority, max_wait_seconds: float) -> None:
        """Take `count` places, before their texts are even tokenised.

        Raises:
            QueueFull: not so many are left, or the wait would be longer than allowed.
        """
        if self.items + count > self.max_items - self._owed_items:
            raise QueueFull("queue_full", self.retry_after(priority))
        # A request never waits for itself: only what is there already counts.
        if self.wait_seconds(priority) > max_wait_seconds:
            raise QueueFull("queue_wait", self.retry_after(priority, max_wait_seconds))
        self.items += count

    def admit_tokens(self, count: int, priority: Priority) -> None:
        """Add the tokens of items that have their places.

        Raises:
            QueueFull: the bound on tokens would be exceeded.
        """
        if self.tokens + count > self.max_tokens - self._owed_tokens:
            raise QueueFull("token_budget", self.retry_after(priority))
        self._tokens[priority] += count

    def release_items(self, count: int, *, waited: bool = False) -> None:
        """Give places back; `waited`: taken by way of the line."""
        self.items -= count
        if waited:
            self._waiters_items -= count
        self.places.serve()

    def release_tokens(self, count: int, priority: Priority, *, waited: bool = False) -> None:
        """Take finished or abandoned tokens off."""
        self._tokens[priority] -= count
        if waited:
            self._waiters_tokens -= count
        self.budget.serve()

    def discount(self, cached_tokens: int, priority: Priority) -> None:
        """Of tokens that were admitted so many are cached: they take room, and hardly any time."""
        self._cached[priority] += cached_tokens

    @contextmanager
    def waiting_body(self, num_bytes: int) -> Iterator[None]:
        """Count the body of a request that waits, as long as it is here.

        Raises:
            QueueFull: the bodies that wait are as many bytes as may be.
        """
        size = num_bytes + REQUEST_BYTES
        if self.waiting_bytes and self.waiting_bytes + size > self.max_waiting_bytes:
            raise QueueFull("waiting_bytes", self.retry_after("bulk"))
        self.waiting_bytes += size
        try:
            yield
        finally:
            self.waiting_bytes -= size

    def measured(self, tokens: float, seconds: float) -> None:
        """A pack of `tokens`, less what `discount` takes off them, took `seconds`.

        The recent past sets the rate.
        """
        self._done_tokens = _RATE_MEMORY * self._done_tokens + tokens
        self._done_seconds = _RATE_MEMORY * self._done_seconds + seconds

    def wait_seconds(self, priority: Priority) -> float:
        """How long a newcomer of this class would wait; 0 until the device's rate is known."""
        if self._done_tokens <= 0.0:
            return 0.0
        return self._tokens_before(priority) * self._done_seconds / self._done_tokens

    def retry_after(self, priority: Priority, allowed_seconds: float = 0.0) -> int:
        """When to come again, in whole seconds from 1 to 120."""
        seconds = self.wait_seconds(priority) - allowed_seconds
        return max(1, min(_MAX_RETRY_AFTER_SECONDS, math.ceil(seconds)))

    @property
    def _owed_items(self) -> int:
        """Places that are the first in line's as soon as they are free."""
        wanted = self.places.first_wants
        return wanted if self._waiters_items + wanted <= _share(self.max_items) else 0

    @property
    def _owed_tokens(self) -> int:
        wanted = self.budget.first_wants
        return wanted if self._may_have_tokens(wanted) else 0

    def _may_have_tokens(self, count: int) -> bool:
        # A text of more than the share goes alone.
        held = self._waiters_tokens
        return held == 0 or held + count <= _share(self.max_tokens)

    def _take_places(self, count: int) -> bool:
        if self._waiters_items + count > _share(self.max_items):
            return False
        if self.items + count > self.max_items:
            return False
        self.items += count
        self._waiters_items += count
        return True

    def _return_places(self, count: int) -> None:
        self.release_items(count, waited=True)

    def _take_tokens(self, count: int) -> bool:
        if not self._may_have_tokens(count) or self.tokens + count > self.max_tokens:
            return False
        self._tokens["bulk"] += count
        self._waiters_tokens += count
        return True

    def _return_tokens(self, count: int) -> None:
        self.release_tokens(count, "bulk", waited=True)

    def _work(self, priority: Priority) -> float:
        """Tokens of a class as the device feels them."""
        return self._tokens[priority] - saved_tokens(self._cached[priority])

    def _tokens_before(self, priority: Priority) -> float:
        ahead, bulk = self._work("interactive"), self._work("bulk")
        every = self.bulk_every_packs
        if priority == "bulk" or every == 1:
            return ahead + bulk
        # Bulk work takes the present pack and every n-th of those to come.
        return ahead + min(bulk, self.max_pack_tokens + ahead / (every - 1))


def _share(bound: int) -> int:
    """How much of a bound is for requests that wait."""
    return max(1, bound * 3 // 4)
