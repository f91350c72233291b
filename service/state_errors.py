"""What can go wrong with the durable state; `service.streams.service` owns the status codes.

RewardError
├─ InputError
│  └─ TooManyStreams
├─ UnknownStream
├─ IdempotencyConflict
└─ StateUnavailable
"""

from rm_core.errors import InputError, RewardError


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
