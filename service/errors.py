"""Why the queue refuses or gives up a request; `service.scoring` turns these into problems."""

from typing import ClassVar, Literal

from rm_core.errors import InputError, RewardError

RejectionReason = Literal["queue_full", "token_budget", "queue_wait", "waiting_bytes", "stopping"]
Stage = Literal["admit", "queue", "inference"]


class QueueFull(Exception):
    """Raised when a request would exceed the queue's bounds or wait longer than allowed.

    Args:
        reason: which bound.
        retry_after_seconds: when there should be room, from the measured rate of the device.
    """

    _DETAIL: ClassVar[dict[RejectionReason, str]] = {
        "queue_full": "The queue holds as many items as it may.",
        "token_budget": "The queue holds as many tokens as it may.",
        "queue_wait": "The queue is longer than this request may wait.",
        "waiting_bytes": "The requests that wait hold as many bytes as they may.",
        "stopping": "The service is stopping.",
    }

    def __init__(self, reason: RejectionReason, retry_after_seconds: int) -> None:
        super().__init__(self._DETAIL[reason])
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


class RequestTooLarge(Exception):
    """Raised when the texts of one request hold more tokens than one request may.

    Args:
        num_tokens: of the request.
        max_tokens: the bound.
        at_least: whether not all of its texts were counted.
    """

    code: ClassVar[str] = "too_many_tokens"

    def __init__(self, num_tokens: int, max_tokens: int, *, at_least: bool = False) -> None:
        number = f"at least {num_tokens}" if at_least else num_tokens
        super().__init__(
            f"The request holds {number} tokens; one request takes at most {max_tokens}. "
            "Send it in parts."
        )


class DetailTooLarge(Exception):
    """Raised when one reply would hold more rewards of tokens or steps than one reply may.

    Args:
        num_rewards: of the request, over all responses and models.
        max_rewards: the bound.
        at_least: whether not all of its texts were counted.
    """

    code: ClassVar[str] = "too_many_rewards"

    def __init__(self, num_rewards: int, max_rewards: int, *, at_least: bool = False) -> None:
        number = f"at least {num_rewards}" if at_least else num_rewards
        super().__init__(
            f"The reply would hold {number} rewards of tokens or steps; one reply holds at "
            f"most {max_rewards}. Send fewer or shorter responses in one request."
        )


class DeadlineExceeded(Exception):
    """Raised when the caller's deadline passes before the answer is there.

    Args:
        stage: how far the request had come.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__(f"deadline passed ({stage})")
        self.stage: Stage = stage


class UnknownStream(RewardError):
    """Raised when a stream is read, frozen or reset that was never written."""

    code = "unknown_stream"

    def __init__(self) -> None:
        super().__init__(
            "there is no stream of that name; GET /streams lists them, and PUT /streams/{name} or "
            "a /ppo_reward request in running mode creates one"
        )


class IdempotencyConflict(RewardError):
    """Raised when a key comes again with another body."""

    code = "idempotency_conflict"


class TooManyStreams(InputError):
    """Raised when a new stream would exceed the limit."""

    code = "too_many_streams"


class StateUnavailable(RewardError):
    """Raised when the state can't be read or written now (disk full, file locked or damaged)."""

    code = "state_unavailable"
