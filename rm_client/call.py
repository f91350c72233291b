"""A call as a value, and what its last answer means: pure, shared by both clients."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pydantic import ValidationError

from rm_client.errors import InvalidReply, NotAuthorized, NotFound, Overloaded, RequestRefused
from rm_client.models import ErrorReply, FailedReply
from rm_client.models_problem import ProblemReply
from rm_client.retry import RawReply

T = TypeVar("T")

JSON_MEDIA_TYPE = "application/json"

_ITEM_POINTER = re.compile(r"/items/(\d+)(?:/|\Z)")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, built once and sent as often as it takes.

    Attributes:
        method: HTTP method.
        path: below the server's address.
        parse: reads the body of a 2xx answer.
        content: the body.
        media_type: of the body.
        params: query parameters.
        idempotency_key: kept over all attempts, so that the server counts them once.
        repeatable: whether doing it twice does no harm, with the key where there is one.
        num_items: how many items are asked about.
        from_failures: makes the reply when the server refused because every item failed.
    """

    method: str
    path: str
    parse: Callable[[bytes], T]
    content: bytes = b""
    media_type: str = JSON_MEDIA_TYPE
    params: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    repeatable: bool = True
    num_items: int = 0
    from_failures: Callable[[list[FailedReply]], T] | None = None

    @property
    def name(self) -> str:
        """For log lines and errors."""
        return f"{self.method} {self.path}"

    def headers(self, timeout_seconds: float) -> dict[str, str]:
        """Of one attempt: the server drops the work that nobody waits for any more."""
        headers = {"X-Request-Timeout-Ms": str(min(max(1, int(timeout_seconds * 1e3)), 86_400_000))}
        if self.content:
            headers["Content-Type"] = self.media_type
        if self.idempotency_key is not None:
            headers["Idempotency-Key"] = self.idempotency_key
        return headers


def conclude(call: Call[T], raw: RawReply, num_attempts: int) -> T:
    """The result of a call from the last answer to it.

    Raises:
        RequestRefused: 4xx (or its subclasses).
        Overloaded: 429 or 5xx, after all retries.
        InvalidReply: the answer is not what the wire promises.
    """
    if 200 <= raw.status < 300:
        return call.parse(raw.body)
    problem = _problem(raw)
    if problem is not None and call.from_failures is not None:
        failures = _failures(problem, call.num_items)
        if failures is not None:
            return call.from_failures(failures)
    said = f": {problem.detail} ({problem.code})" if problem is not None else ""
    where = f"; first at {problem.errors[0].pointer}" if problem and problem.errors else ""
    message = f"{call.name} was answered {raw.status}{said}{where}"
    if raw.status == 429 or raw.status >= 500:
        raise Overloaded(f"{message} ({num_attempts} attempts)", num_attempts, call.idempotency_key)
    if raw.status < 400:
        raise InvalidReply(f"{message}; rewardd never redirects: check the address")
    kinds = {401: NotAuthorized, 403: NotAuthorized, 404: NotFound}
    raise kinds.get(raw.status, RequestRefused)(message, raw.status, problem)


def _problem(raw: RawReply) -> ProblemReply | None:
    try:
        return ProblemReply.model_validate_json(raw.body)
    except ValidationError:
        return None  # a proxy's page, which is not quoted: nobody knows what is in it


def _failures(problem: ProblemReply, num_items: int) -> list[FailedReply] | None:
    """Each item's failure, if the whole was refused because every single item failed."""
    found: dict[int, ErrorReply] = {}
    for error in problem.errors or ():
        match = _ITEM_POINTER.match(error.pointer)
        if match is None or int(match[1]) >= num_items:
            return None
        found.setdefault(
            int(match[1]), ErrorReply(code=error.code, detail=error.detail, pointer=error.pointer)
        )
    if not found or (len(found) < num_items and not problem.errors_left_out):
        return None
    return [FailedReply(error=found.get(i) or _unlisted(problem, i)) for i in range(num_items)]


def _unlisted(problem: ProblemReply, index: int) -> ErrorReply:
    return ErrorReply(code=problem.code, detail=problem.detail, pointer=f"/items/{index}")
