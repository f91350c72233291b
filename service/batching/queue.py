"""What waits in the queue: requests, and their sequences one by one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rm_core.engine.packing.policy import Priority, QueuedSequence
from rm_core.errors import InvariantViolation
from rm_core.types import EncodedItem
from service.results import Outcome

if TYPE_CHECKING:
    import asyncio


@dataclass(slots=True, eq=False)
class PendingRequest:
    """One call of `Scheduler.score` while its entries wait or run.

    Attributes:
        route: label of the metrics.
        priority: its class.
        deadline: on the scheduler's clock; None: never.
        outcomes: one per dialogue, None while it has none.
        unfinished: how many have none.
        done: set when all have one, or when waiting makes no sense any more.
        begun: whether the device has taken any of its entries.
    """

    route: str
    priority: Priority
    deadline: float | None
    outcomes: list[Outcome | None]
    unfinished: int
    done: "asyncio.Future[None]"
    begun: bool = False

    @property
    def is_over(self) -> bool:
        """Nobody waits for it any more."""
        return self.done.done()

    def fail(self, error: Exception) -> None:
        """Tell whoever waits that nothing will come."""
        if not self.done.done():
            self.done.set_exception(error)

    def results(self) -> list[Outcome]:
        """All outcomes, in order, once `done`."""
        known = [outcome for outcome in self.outcomes if outcome is not None]
        if len(known) != len(self.outcomes):
            raise InvariantViolation("a finished request lacks an outcome; this is a bug")
        return known


@dataclass(slots=True, eq=False)
class Entry:
    """One sequence that waits or runs.

    Attributes:
        request: whose it is.
        index: of its dialogue in the request.
        waiting: what the batching policy sees of it.
        admitted_at: on the scheduler's clock.
    """

    request: PendingRequest
    index: int
    waiting: QueuedSequence[EncodedItem]
    admitted_at: float

    @property
    def item(self) -> EncodedItem:
        """What the scorer gets."""
        return self.waiting.item

    @property
    def num_tokens(self) -> int:
        """Its cost in the queue's budget of tokens."""
        return self.waiting.item.num_tokens

    def settle(self, outcome: Outcome) -> None:
        """Give the entry its outcome; the last one of a request wakes its caller."""
        request = self.request
        if request.outcomes[self.index] is not None:
            raise InvariantViolation("an entry was settled twice; this is a bug")
        request.outcomes[self.index] = outcome
        request.unfinished -= 1
        if request.unfinished == 0 and not request.is_over:
            request.done.set_result(None)
