"""Who may join the queue: exact bounds, and how long the wait will be."""

import math
from dataclasses import dataclass, field

from rm_core.engine.packing.policy import Priority
from service.errors import QueueFull

_MAX_RETRY_AFTER_SECONDS = 120
_RATE_MEMORY = 0.9


@dataclass(slots=True)
class Admission:
    """Counts what is admitted and not finished; the device's present pack counts too.

    Attributes:
        max_items: bound on items.
        max_tokens: bound on tokens.
        max_pack_tokens: how much bulk work may be on the device when interactive work arrives.
        bulk_every_packs: how many packs one with bulk work first comes in.
    """

    max_items: int
    max_tokens: int
    max_pack_tokens: int
    bulk_every_packs: int = 4
    items: int = field(init=False, default=0)
    _tokens: dict[Priority, int] = field(
        init=False, default_factory=lambda: {"interactive": 0, "bulk": 0}
    )
    _done_tokens: float = field(init=False, default=0.0)
    _done_seconds: float = field(init=False, default=0.0)

    @property
    def tokens(self) -> int:
        """Tokens admitted and not finished."""
        return sum(self._tokens.values())

    def admit_items(self, count: int, priority: Priority, max_wait_seconds: float) -> None:
        """Take `count` places, before their texts are even tokenised.

        Raises:
            QueueFull: not so many are left, or the wait would be longer than allowed.
        """
        if self.items + count > self.max_items:
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
        if self.tokens + count > self.max_tokens:
            raise QueueFull("token_budget", self.retry_after(priority))
        self._tokens[priority] += count

    def release_items(self, count: int) -> None:
        """Give places back."""
        self.items -= count

    def release_tokens(self, count: int, priority: Priority) -> None:
        """Take finished or abandoned tokens off."""
        self._tokens[priority] -= count

    def measured(self, tokens: int, seconds: float) -> None:
        """A pack of `tokens` took `seconds`; the recent past sets the rate."""
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

    def _tokens_before(self, priority: Priority) -> float:
        if priority == "bulk":
            return self.tokens
        every = self.bulk_every_packs
        if every == 1:
            return self.tokens
        ahead = self._tokens["interactive"]
        bulk = self._tokens["bulk"]
        # Bulk work takes the present pack and every n-th of those to come.
        return ahead + min(bulk, self.max_pack_tokens + ahead / (every - 1))
