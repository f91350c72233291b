"""Who may join the queue: exact bounds, and how long the wait will be.

Requests that wait for room stand in line, see `Room`; others are refused at once where there is
none, or where the wait would be longer than they bear.
"""

import math
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from service.batching.pack_rate import PackRate
from service.batching.queue import Flow
from service.batching.room import Room
from service.batching.wait_estimate import WaitEstimate
from service.errors import QueueFull

_MAX_RETRY_AFTER_SECONDS = 120
_PLACES_AT_ONCE = 64
"""So many of a waiting request's places are asked for together; then others have their turn."""
REQUEST_BYTES = 40 * 1024
"""What a request that waits costs beside its body: connection, task, parsed form; measured."""


class Admission:
    """Counts what is admitted and not finished; the device's present pack counts too.

    Args:
        max_items: bound on items.
        max_tokens: bound on tokens.
        max_pack_tokens: budget of a pack.
        max_pack_items: places of a pack.
        bulk_every_packs: how many packs one with bulk work first comes in.
        max_waiting_bytes: bound on the bodies of requests that wait.

    Attributes:
        places: items that are admitted.
        budget: their tokens.
        waiting_bytes: of bodies that wait.
    """

    def __init__(
        self,
        max_items: int,
        max_tokens: int,
        max_pack_tokens: int,
        *,
        max_pack_items: int = 256,
        bulk_every_packs: int = 4,
        max_waiting_bytes: int = 1 << 29,
    ) -> None:
        self.places = Room(max_items)
        self.budget = Room(max_tokens)
        self.waiting_bytes = 0
        self._max_waiting_bytes = max_waiting_bytes
        self._estimate = WaitEstimate(
            self.places.by_flow,
            self.budget.by_flow,
            max_pack_items,
            max_pack_tokens,
            bulk_every_packs,
        )

    @property
    def items(self) -> int:
        """Items admitted and not finished."""
        return self.places.held

    @property
    def tokens(self) -> int:
        """Tokens admitted and not finished."""
        return self.budget.held

    @property
    def num_waiting(self) -> int:
        """How many stand in line."""
        return len(self.places.line) + len(self.budget.line)

    @property
    def pack_rate(self) -> PackRate:
        """What is learned of packs' times."""
        return self._estimate.rate

    @property
    def places_at_once(self) -> int:
        """How many places a request that waits asks for at a time."""
        return max(1, min(_PLACES_AT_ONCE, self.places.waiters_part // 4))

    def admit_items(self, count: int, flow: Flow, max_wait_seconds: float) -> None:
        """Take `count` places, before their texts are even tokenised.

        Raises:
            QueueFull: not so many are left, or the wait would be longer than allowed.
        """
        if not self.places.has(count, flow):
            raise QueueFull("queue_full", self.retry_after(flow))
        # A request never waits for itself: only what is there already counts.
        if self.wait_seconds(flow) > max_wait_seconds:
            raise QueueFull("queue_wait", self.retry_after(flow, max_wait_seconds))
        self.places.take(count, flow)

    def admit_tokens(self, count: int, flow: Flow) -> None:
        """Add the tokens of items that have their places.

        Raises:
            QueueFull: the bound on tokens would be exceeded.
        """
        if not count:
            return
        if not self.budget.has(count, flow):
            raise QueueFull("token_budget", self.retry_after(flow))
        self.budget.take(count, flow)

    async def wait_for_items(self, count: int, flow: Flow, request: Hashable) -> None:
        """Take `count` places, as soon as it is the request's turn."""
        await self.places.wait_for(count, flow, request)

    async def wait_for_tokens(self, count: int, flow: Flow, request: Hashable) -> None:
        """Add tokens of items that have their places, as soon as it is the request's turn."""
        await self.budget.wait_for(count, flow, request)

    def release_items(self, count: int, flow: Flow, *, waited: bool = False) -> None:
        """Give places back; `waited`: taken by way of the line."""
        self.places.give_back(count, flow, waited=waited)

    def release_tokens(self, count: int, flow: Flow, *, waited: bool = False) -> None:
        """Take finished or abandoned tokens off."""
        self.budget.give_back(count, flow, waited=waited)

    def discount(self, cached_tokens: int, flow: Flow) -> None:
        """Of tokens that were admitted so many are cached: they take room, and hardly any time."""
        self._estimate.discount(cached_tokens, flow)

    @contextmanager
    def waiting_body(self, num_bytes: int) -> Iterator[None]:
        """Count the body of a request that waits, as long as it is here.

        Raises:
            QueueFull: the bodies that wait are as many bytes as may be.
        """
        size = num_bytes + REQUEST_BYTES
        if self.waiting_bytes and self.waiting_bytes + size > self._max_waiting_bytes:
            raise QueueFull("waiting_bytes", self.retry_after(Flow(b"", "bulk")))
        self.waiting_bytes += size
        try:
            yield
        finally:
            self.waiting_bytes -= size

    def wait_seconds(self, flow: Flow) -> float:
        """How long a newcomer would wait; 0 until a pack has run."""
        return self._estimate.seconds(flow)

    def retry_after(self, flow: Flow, allowed_seconds: float = 0.0) -> int:
        """When to come again, in whole seconds from 1 to 120."""
        seconds = self.wait_seconds(flow) - allowed_seconds
        return max(1, min(_MAX_RETRY_AFTER_SECONDS, math.ceil(seconds)))
