"""The calls that there are: what is sent, and how the answer is read."""

import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from types import UnionType
from typing import Any, Literal, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from rm_client.call import Call
from rm_client.checks import check_comparisons, check_ppo, check_scores, raise_failures
from rm_client.errors import (
    InvalidReply,
    InvalidRequest,
    ItemsFailed,
)
from rm_client.models import (
    CompareItem,
    CompareReply,
    CompareRequest,
    FailedReply,
    ScoreItem,
    ScoreReply,
    ScoreRequest,
    score_item_model,
)
from rm_client.models_info import Info
from rm_client.models_ppo import (
    PpoItem,
    PpoReply,
    PpoRequest,
    StreamReply,
    StreamSnapshot,
    StreamsReply,
    WhitenOptions,
    ppo_item_model,
)

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)
ItemsReply = TypeVar("ItemsReply", bound=ScoreReply | CompareReply | PpoReply)

OnItemError = Literal["return", "raise"]

NDJSON_MEDIA_TYPE = "application/x-ndjson"

_STREAM_NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,64}\Z")
_NUMBERS = {"logprobs", "ref_logprobs", "mask"}  # can't hold a text, and may be long


def score_call(
    items: Iterable[object], on_item_error: OnItemError, **options: Any
) -> Call[ScoreReply]:
    """POST /score."""
    request = _model(ScoreRequest, items=score_items(items), **options)
    return _items_call(
        "/score",
        request,
        ScoreReply,
        check_scores,
        on_item_error,
        from_failures=lambda failures: ScoreReply(items=list(failures)),
    )


def compare_call(
    items: Iterable[object], on_item_error: OnItemError, **options: Any
) -> Call[CompareReply]:
    """POST /compare."""
    models = _items(items, CompareItem, lambda _: CompareItem)
    request = _model(CompareRequest, items=models, **options)
    return _items_call(
        "/compare",
        request,
        CompareReply,
        check_comparisons,
        on_item_error,
        from_failures=lambda failures: CompareReply(items=list(failures)),
    )


def ppo_call(
    items: Iterable[object],
    on_item_error: OnItemError,
    *,
    whiten: WhitenOptions | str,
    idempotency_key: str | None,
    **options: Any,
) -> Call[PpoReply]:
    """POST /ppo_reward; the key is made here, once for all attempts, unless the caller has one."""
    models = _items(items, PpoItem, ppo_item_model)
    for index, model in enumerate(models):
        lists = (model.logprobs, model.ref_logprobs, model.mask)
        if len({len(values) for values in lists if values is not None}) > 1:
            raise InvalidRequest(
                f"item {index} is not valid: logprobs, ref_logprobs and mask must be equally long"
            )
    chosen = _model(WhitenOptions, mode=whiten) if isinstance(whiten, str) else whiten
    request = _model(PpoRequest, items=models, whiten=chosen, **options)
    return _items_call(
        "/ppo_reward",
        request,
        PpoReply,
        check_ppo,
        on_item_error,
        from_failures=_no_statistics,
        idempotency_key=_key(idempotency_key),
    )


def _items_call(
    path: str,
    request: ScoreRequest | CompareRequest | PpoRequest,
    kind: type[ItemsReply],
    check: Callable[[Any, Any], None],
    on_item_error: OnItemError,
    *,
    from_failures: Callable[[list[FailedReply]], ItemsReply],
    idempotency_key: str | None = None,
) -> Call[ItemsReply]:
    def parse(body: bytes) -> ItemsReply:
        reply = parse_model(kind, body)
        check(request.items, reply.items)
        return finish(reply)

    def finish(reply: ItemsReply) -> ItemsReply:
        if on_item_error == "raise":
            raise_failures(reply.items)
        return reply

    return Call(
        "POST",
        path,
        parse,
        dump(request),
        idempotency_key=idempotency_key,
        num_items=len(request.items),
        from_failures=lambda failures: finish(from_failures(failures)),
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


def info_call() -> Call[Info]:
    """GET /v1/info."""
    return Call("GET", "/v1/info", lambda body: cast("Info", _parse_object(body)))


def ready_call() -> Call[bool]:
    """GET /health/ready; a question about now, so it is not repeated."""
    return Call("GET", "/health/ready", lambda _: True, repeatable=False)


def score_items(items: Iterable[object], *, first_index: int = 0) -> list[ScoreItem]:
    """Items of /score as models.

    Raises:
        InvalidRequest: one is not valid; its index counts from `first_index`.
    """
    return _items(items, ScoreItem, score_item_model, first_index)


def as_item(model: type[Model], value: object) -> Model:
    """`value`, a `model` or a dict of its fields, as one that can be sent.

    Raises:
        InvalidRequest: it is none, or holds a text that UTF-8 can't carry.
    """
    try:
        item = model.model_validate(value)
    except ValidationError as exc:
        raise InvalidRequest(explain(exc)) from None
    dump(item, exclude=_NUMBERS)
    return item


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


def _items(
    raw_items: Iterable[object],
    kinds: type | UnionType,
    choose: Callable[[object], type[Model]],
    first_index: int = 0,
) -> list[Model]:
    """Models as they are, mappings as the model that is chosen by looking at them."""
    items: list[Model] = []
    for index, raw in enumerate(raw_items, start=first_index):
        value = dict(raw) if isinstance(raw, Mapping) else raw
        own: Any = type(value)
        model: type[Model] = own if isinstance(value, kinds) else choose(value)
        try:
            items.append(as_item(model, value))
        except InvalidRequest as exc:
            raise InvalidRequest(f"item {index} is not valid: {exc}") from None
    return items


def _model(model: type[Model], **values: Any) -> Model:
    try:
        return model(**values)
    except ValidationError as exc:
        raise InvalidRequest(f"the request is not valid: {explain(exc)}") from None


def dump(model: BaseModel, *, exclude: set[str] | None = None) -> bytes:
    """What is sent, as JSON without the defaults, which are the server's own.

    Raises:
        InvalidRequest: it holds a text that UTF-8 can't carry.
    """
    try:
        return model.model_dump_json(exclude_defaults=True, exclude=exclude).encode()
    except PydanticSerializationError:
        # Without its cause, which would quote the text.
        raise InvalidRequest("a text holds a lone surrogate, which UTF-8 can't carry") from None


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


def _no_statistics(failures: list[FailedReply]) -> PpoReply:
    # Where no item succeeded there are no statistics, so there is no reply to build.
    raise ItemsFailed({index: failure.error for index, failure in enumerate(failures)})
