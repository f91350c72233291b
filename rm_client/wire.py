"""Calls as values: what is sent, and how the answer is read. Pure, shared by both clients."""

import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from rm_client.checks import check_comparisons, check_ppo, check_scores
from rm_client.errors import (
    InvalidReply,
    InvalidRequest,
    ItemsFailed,
    NotAuthorized,
    NotFound,
    Overloaded,
    RequestRefused,
)
from rm_client.models import (
    CompareItem,
    CompareReply,
    CompareRequest,
    ErrorReply,
    FailedReply,
    GroupItem,
    MessagesItem,
    ProblemReply,
    ResponseItem,
    ScoreItem,
    ScoreReply,
    ScoreRequest,
    StepsItem,
    Truncation,
)
from rm_client.models_ppo import (
    PpoItem,
    PpoMessagesItem,
    PpoReply,
    PpoRequest,
    PpoResponseItem,
    StreamReply,
    StreamSnapshot,
    StreamsReply,
    WhitenOptions,
)
from rm_client.retry import RawReply

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)

JSON_MEDIA_TYPE = "application/json"
NDJSON_MEDIA_TYPE = "application/x-ndjson"

_ITEM_POINTER = re.compile(r"/items/(\d+)(?:/|\Z)")
_STREAM_NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,64}\Z")


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


def score_call(items: Iterable[object], truncate: Truncation, **options: Any) -> Call[ScoreReply]:
    """POST /score."""
    models = score_items(items)

    def parse(body: bytes) -> ScoreReply:
        reply = parse_model(ScoreReply, body)
        check_scores(models, reply.items)
        return reply

    return Call(
        "POST",
        "/score",
        parse,
        dump(_model(ScoreRequest, items=models, truncate=truncate, **options)),
        num_items=len(models),
        from_failures=lambda failures: ScoreReply(items=list(failures)),
    )


def compare_call(items: Iterable[object], truncate: Truncation) -> Call[CompareReply]:
    """POST /compare."""
    models = [_item(CompareItem, raw, index) for index, raw in enumerate(items)]

    def parse(body: bytes) -> CompareReply:
        reply = parse_model(CompareReply, body)
        check_comparisons(models, reply.items)
        return reply

    return Call(
        "POST",
        "/compare",
        parse,
        dump(_model(CompareRequest, items=models, truncate=truncate)),
        num_items=len(models),
        from_failures=lambda failures: CompareReply(items=list(failures)),
    )


def ppo_call(
    items: Iterable[object],
    *,
    whiten: WhitenOptions | str,
    idempotency_key: str | None,
    **options: Any,
) -> Call[PpoReply]:
    """POST /ppo_reward; the key is made here, once for all attempts, unless the caller has one."""
    models = [_item(_ppo_model(raw), raw, index) for index, raw in enumerate(items)]
    chosen = _model(WhitenOptions, mode=whiten) if isinstance(whiten, str) else whiten

    def parse(body: bytes) -> PpoReply:
        reply = parse_model(PpoReply, body)
        check_ppo(models, reply.items)
        return reply

    return Call(
        "POST",
        "/ppo_reward",
        parse,
        dump(_model(PpoRequest, items=models, whiten=chosen, **options)),
        idempotency_key=_key(idempotency_key),
        num_items=len(models),
        from_failures=_no_statistics,
    )


def get_stream_call(name: str) -> Call[StreamReply]:
    """GET /streams/{name}."""
    return Call("GET", _stream_path(name), lambda body: parse_model(StreamReply, body))


def put_stream_call(name: str, snapshot: StreamSnapshot) -> Call[StreamReply]:
    """PUT /streams/{name}: the same snapshot again changes nothing."""
    return Call(
        "PUT", _stream_path(name), lambda body: parse_model(StreamReply, body), dump(snapshot)
    )


def delete_stream_call(name: str, *, forget: bool) -> Call[StreamReply | None]:
    """DELETE /streams/{name}: not repeated blindly, for a second reset would take others' work."""
    return Call(
        "DELETE",
        _stream_path(name),
        lambda body: parse_model(StreamReply, body) if body else None,
        params={"forget": "true"} if forget else {},
        repeatable=False,
    )


def list_streams_call() -> Call[list[StreamReply]]:
    """GET /streams."""
    return Call("GET", "/streams", lambda body: parse_model(StreamsReply, body).streams)


def info_call() -> Call[dict[str, Any]]:
    """GET /v1/info."""
    return Call("GET", "/v1/info", _parse_object)


def ready_call() -> Call[bool]:
    """GET /health/ready; a question about now, so it is not repeated."""
    return Call("GET", "/health/ready", lambda _: True, repeatable=False)


def score_items(items: Iterable[object], *, first_index: int = 0) -> list[ScoreItem]:
    """Items of /score as models.

    Raises:
        InvalidRequest: one is not valid; its index counts from `first_index`.
    """
    return [
        _item(_score_model(raw), raw, index) for index, raw in enumerate(items, start=first_index)
    ]


def parse_model(model: type[Model], body: bytes) -> Model:
    """A reply's body as a model.

    Raises:
        InvalidReply: it is none; the message names fields, not values.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as exc:
        raise InvalidReply(f"the reply is not a {model.__name__}: {explain(exc)}") from None


def explain(error: ValidationError) -> str:
    """The first thing that is wrong, and where, without the value."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InvalidReply("the reply is not a JSON object; is the address a rewardd server's?")
    return value


def _score_model(raw: object) -> type[ScoreItem]:
    if isinstance(raw, ResponseItem | StepsItem | GroupItem | MessagesItem):
        return type(raw)
    if isinstance(raw, Mapping) and "messages" in raw:
        return MessagesItem
    if isinstance(raw, Mapping) and "responses" in raw:
        return GroupItem
    if isinstance(raw, Mapping) and "steps" in raw:
        return StepsItem
    return ResponseItem


def _ppo_model(raw: object) -> type[PpoItem]:
    if isinstance(raw, PpoMessagesItem) or (isinstance(raw, Mapping) and "messages" in raw):
        return PpoMessagesItem
    return PpoResponseItem


def _item(model: type[Model], raw: object, index: int) -> Model:
    if isinstance(raw, model):
        return raw
    try:
        return model.model_validate(dict(raw) if isinstance(raw, Mapping) else raw)
    except ValidationError as exc:
        raise InvalidRequest(f"item {index} is not valid: {explain(exc)}") from None


def _model(model: type[Model], **values: Any) -> Model:
    try:
        return model(**values)
    except ValidationError as exc:
        raise InvalidRequest(f"the request is not valid: {explain(exc)}") from None


def dump(model: BaseModel) -> bytes:
    """What is sent, as JSON."""
    # Defaults are the server's own (a test compares them), and most of a request.
    return model.model_dump_json(exclude_defaults=True).encode()


def _key(given: str | None) -> str:
    if given is None:
        return uuid.uuid4().hex
    if not (1 <= len(given) <= 255 and given.isascii() and given.isprintable()):
        raise InvalidRequest("idempotency_key must be 1 to 255 printable ASCII characters")
    return given


def _stream_path(name: str) -> str:
    if not _STREAM_NAME.match(name):
        raise InvalidRequest(
            "a stream's name has 1 to 64 characters out of A-Z, a-z, 0-9, dot, underscore, hyphen, "
            'and is neither "." nor ".."'
        )
    return f"/streams/{name}"


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


def _no_statistics(failures: list[FailedReply]) -> PpoReply:
    # Where no item succeeded there are no statistics, so there is no reply to build.
    raise ItemsFailed({index: failure.error for index, failure in enumerate(failures)})
