"""What waits in the queue: requests, and their sequences one by one."""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

from rm_core.engine.packing.plan import DEFAULT_MIN_SHARED_TOKENS
from rm_core.engine.packing.policy import Priority, QueuedSequence
from rm_core.errors import InvariantViolation
from rm_core.types import EncodedItem, Scorer, Truncation
from service.results import ScoreOutcome


class Flow(NamedTuple):
    """Whose work, and of which class: what takes turns with others in packs.

    Attributes:
        caller: see `Submission`.
        priority: see `Submission`.
    """

    caller: bytes
    priority: Priority


@dataclass(frozen=True, slots=True)
class Submission:
    """How a request's texts wait and are read, from the route down to the queue.

    Attributes:
        route: the route's path, a label of the metrics.
        priority: "interactive" goes before "bulk" and is shed sooner.
        truncate: what to do with a text that is too long.
        deadline: when the answer is useless, on the service's clock; None: never.
        patience_seconds: how long to wait for the first text to begin; None: as the settings say.
        waits: whether to stand in line for room rather than be refused; bulk work only.
        num_bytes: of the body, which is kept while it waits.
        cache_scope: of its texts, see `EncodedItem`.
        caller: who is served in turn with others: a digest of the API key; b"" without keys.
        scorer: whose rewards are asked for; None: those of the scheduler's own.
        ndjson_stream: number of the one that it is a line of; a caller's streams have their turns.
            None: it has a turn of its own.
    """

    route: str
    priority: Priority = "interactive"
    truncate: Truncation = "error"
    deadline: float | None = None
    patience_seconds: float | None = None
    waits: bool = False
    num_bytes: int = 0
    cache_scope: bytes = b""
    caller: bytes = b""
    scorer: Scorer | None = None
    ndjson_stream: int | None = None

    @property
    def flow(self) -> Flow:
        """Whose work it is, and of which class."""
        return Flow(self.caller, self.priority)


@dataclass(slots=True, eq=False)
class PendingRequest:
    """One call of `Scheduler.score` while its entries wait or run.

    Attributes:
        submission: how it waits.
        outcomes: one per dialogue, None while it has none.
        unfinished: how many have none.
        done: set when all have one, or when waiting makes no sense any more.
        begun: whether the device has taken any of its entries.
        round: among its caller's requests of the class; None before any entry waits.
        flow: the submission's, which is asked for at every step.
    """

    submission: Submission
    outcomes: list[ScoreOutcome | None]
    unfinished: int
    done: asyncio.Future[None]
    begun: bool = False
    round: int | None = None
    flow: Flow = field(init=False)

    def __post_init__(self) -> None:
        self.flow = self.submission.flow

    @classmethod
    def of(cls, submission: Submission, num_dialogues: int) -> "PendingRequest":
        """A request none of whose dialogues has its outcome; needs a running loop."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        return cls(submission, [None] * num_dialogues, num_dialogues, done)

    @property
    def turn(self) -> Hashable:
        """What it takes turns as with other requests of its flow."""
        stream = self.submission.ndjson_stream
        return id(self) if stream is None else ("line of", stream)

    @property
    def is_over(self) -> bool:
        """Nobody waits for it any more."""
        return self.done.done()

    def fail(self, error: Exception) -> None:
        """Tell whoever waits that nothing will come."""
        if not self.done.done():
            self.done.set_exception(error)

    def settle(self, index: int, outcome: ScoreOutcome) -> None:
        """Give a dialogue its outcome; the last one wakes the caller."""
        if self.outcomes[index] is not None:
            raise InvariantViolation("an entry was settled twice; this is a bug")
        self.outcomes[index] = outcome
        self.unfinished -= 1
        if self.unfinished == 0 and not self.is_over:
            self.done.set_result(None)

    def results(self) -> list[ScoreOutcome]:
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
        cached_tokens: of its beginning, whose keys and values were kept when it was tokenised.
    """

    request: PendingRequest
    index: int
    waiting: QueuedSequence[EncodedItem]
    admitted_at: float
    cached_tokens: int = 0

    @property
    def item(self) -> EncodedItem:
        """What the scorer gets."""
        return self.waiting.item

    @property
    def num_tokens(self) -> int:
        """Its cost in the queue's budget of tokens."""
        return self.waiting.item.num_tokens

    @property
    def has_cached_prompt(self) -> bool:
        """Whether company of its group would save nothing: what they share is kept anyway."""
        longest = max(self.item.by_model.values(), key=lambda encoded: encoded.num_tokens)
        border = longest.num_prompt_tokens
        if border is None or not self.cached_tokens:
            return False
        return self.cached_tokens > border - DEFAULT_MIN_SHARED_TOKENS

    def settle(self, outcome: ScoreOutcome) -> None:
        """Give the entry its outcome; the last one of a request wakes its caller."""
        self.request.settle(self.index, outcome)
