"""The bounds of the queue and of its packs, and of one request."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from rm_core.types import EncodedItem
from service.errors import DetailTooLarge, RequestTooLarge


@dataclass(frozen=True, slots=True)
class SchedulerLimits:
    """See the settings of the same names."""

    max_pack_tokens: int
    max_pack_items: int
    max_wait_seconds: float
    max_queue_items: int
    max_queue_tokens: int
    max_request_tokens: int
    max_reply_rewards: int
    max_waiting_bytes: int
    bulk_every_packs: int
    tokenizer_threads: int


@dataclass(slots=True)
class RequestSize:
    """What the texts of a request come to, as they are tokenised.

    Attributes:
        limits: of requests.
        tokens: of its texts so far.
        rewards: of tokens or steps that its reply will hold, so far.
    """

    limits: SchedulerLimits
    tokens: int = field(init=False, default=0)
    rewards: int = field(init=False, default=0)

    def add(self, items: Iterable[EncodedItem], *, more_may_come: bool = False) -> None:
        """Count texts.

        Raises:
            RequestTooLarge: more tokens than one request may hold.
            DetailTooLarge: more rewards of tokens or steps than one reply may hold.
        """
        for item in items:
            self.tokens += item.num_tokens
            self.rewards += item.num_extra_positions
        if self.tokens > self.limits.max_request_tokens:
            bound = self.limits.max_request_tokens
            raise RequestTooLarge(self.tokens, bound, at_least=more_may_come)
        if self.rewards > self.limits.max_reply_rewards:
            bound = self.limits.max_reply_rewards
            raise DetailTooLarge(self.rewards, bound, at_least=more_may_come)
