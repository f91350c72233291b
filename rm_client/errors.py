"""What can go wrong, as exceptions; no message ever holds a prompt or a response.

The tree:

    RewardClientError
    ├── InvalidRequest        what was to be sent is not valid; nothing was sent
    ├── ServiceUnavailable    no usable answer within the retries and the time allowed
    │   ├── ConnectionFailed  the service can't be reached, or the connection broke
    │   ├── TimedOut          no answer in time
    │   └── Overloaded        it answered 429 or 5xx to the last
    ├── RequestRefused        it answered 4xx: the same request would be refused again
    │   ├── NotAuthorized     401 or 403
    │   └── NotFound          404, of a stream for instance
    ├── ItemsFailed           some items could not be scored (only with on_item_error="raise")
    └── InvalidReply          the answer is not what the wire promises: lengths, numbers, form
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rm_client.models import ErrorReply
    from rm_client.models_problem import ProblemReply


class RewardClientError(Exception):
    """Base of every error of this package."""


class InvalidRequest(RewardClientError):
    """Raised before anything is sent, when an argument or an item is not valid."""


class ServiceUnavailable(RewardClientError):
    """Raised when the retries, or the time allowed for the call, are used up.

    Attributes:
        num_attempts: how often the request was sent.
        idempotency_key: of the call, where it had one: with the same key and the same arguments
            the call can be made again and still counts once.
    """

    def __init__(self, message: str, num_attempts: int = 0, idempotency_key: str | None = None):
        super().__init__(message)
        self.num_attempts = num_attempts
        self.idempotency_key = idempotency_key

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (str(self), self.num_attempts, self.idempotency_key)


class ConnectionFailed(ServiceUnavailable):
    """Raised when no connection could be made, or the last one broke before the reply ended."""


class TimedOut(ServiceUnavailable):
    """Raised when the last attempt had no answer in time."""


class Overloaded(ServiceUnavailable):
    """Raised when the last answer was 429 or 5xx."""


class RequestRefused(RewardClientError):
    """Raised on a 4xx answer that a retry would not cure.

    Attributes:
        status: HTTP status code.
        code: the problem's stable name ("too_many_items"); "" where the answer names none.
        problem: the whole problem document, where the answer is one.
    """

    def __init__(self, message: str, status: int, problem: "ProblemReply | None" = None) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem
        self.code = problem.code if problem is not None else ""

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (str(self), self.status, self.problem)


class NotAuthorized(RequestRefused):
    """Raised on 401 and 403: the API key is missing or not accepted."""


class NotFound(RequestRefused):
    """Raised on 404: there is no such stream, or the address is not a rewardd server's."""


class ItemsFailed(RewardClientError):
    """Raised when items could not be scored and the call asked for an exception.

    Attributes:
        failures: the errors by the item's index; a group's responses are `(item, response)`.
        hint: what the caller may do about it.
    """

    def __init__(
        self, failures: "Mapping[int | tuple[int, int], ErrorReply]", hint: str = ""
    ) -> None:
        self.failures = dict(failures)
        self.hint = hint
        place, first = next(iter(self.failures.items()))
        super().__init__(
            f"{len(self.failures)} of the request could not be scored; the first is item "
            f"{place}: {first.detail} ({first.code}) {hint}".rstrip()
        )

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.failures, self.hint)


class InvalidReply(RewardClientError):
    """Raised when a 2xx answer is malformed: a proxy's page, a missing item, a NaN."""
