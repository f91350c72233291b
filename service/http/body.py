"""Reading a request body: bounded, strict JSON, items validated one by one.

The order matters: headers are checked before a byte is read, bytes are counted while they arrive,
and JSON is parsed only once the size is known to be bearable.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from service.connections.unfinished import UnfinishedBodies, body_too_large
from service.problems import Problem, ProblemItem, problem_items
from service.results import ItemFailure
from service.schemas.score import CompareEnvelope, ScoreEnvelope

JSON_MEDIA_TYPE = "application/json"
GZIP = ("gzip", "x-gzip")  # two names of one encoding (RFC 9110, 8.4.1.3)
NDJSON_MEDIA_TYPES = frozenset({"application/x-ndjson", "application/jsonl", "application/ndjson"})

# Below this the hop to another thread costs more than the parsing.
_PARSE_ON_LOOP_BYTES = 64 * 1024

MAX_CONTAINERS = 131_072
"""Objects and arrays of one body. Millions of empty ones fit into 8 MiB, and while they are made
and collected nobody else is served: two seconds for 2.8 million arrays."""

# What vLLM's /score is sent, whose path we share.
_PAIR_KEYS = frozenset({"queries", "documents", "text_1", "text_2", "data_1", "data_2"})

Model = TypeVar("Model", bound=BaseModel)
Form = TypeVar("Form", bound=ScoreEnvelope | CompareEnvelope)


def media_type(request: Request) -> str:
    """The body's media type in lower case, without parameters; "" if there is none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_encoding(request: Request, *accepted: str) -> str:
    """Refuse a compression that isn't read here.

    Args:
        request: the request.
        accepted: Content-Encodings that are read beside none at all.

    Returns:
        The body's Content-Encoding in lower case; "identity" if it has none.

    Raises:
        Problem: 415.
    """
    encoding = request.headers.get("content-encoding", "").strip().lower() or "identity"
    if encoding not in ("identity", *accepted):
        known = " or ".join(f"Content-Encoding: {name}" for name in accepted[:1])
        raise Problem(
            415,
            "unsupported_encoding",
            "This compression is not read; send the body "
            + (f"with {known}, or without any." if known else "without Content-Encoding."),
            headers={"Accept-Encoding": ", ".join((*accepted[:1], "identity"))},
        )
    return encoding


def require_identity(request: Request) -> None:
    """Refuse a compressed body, whose size isn't known before it is inflated.

    Raises:
        Problem: 415.
    """
    require_encoding(request)


def require_json(request: Request) -> None:
    """Refuse a body that isn't declared as JSON.

    Raises:
        Problem: 415.
    """
    kind = media_type(request)
    if kind != JSON_MEDIA_TYPE and not (kind.startswith("application/") and kind.endswith("+json")):
        raise Problem(
            415,
            "unsupported_media_type",
            "The body must be JSON; send it with Content-Type: application/json.",
            headers={"Accept-Post": JSON_MEDIA_TYPE},
        )
    require_identity(request)


async def read_body(request: Request, bodies: UnfinishedBodies) -> bytes:
    """The whole body, refused as soon as it is known to be too large or too slow.

    Args:
        request: the request, its body unread.
        bodies: all that are being read, and their limits.

    Raises:
        Problem: 413 too large (by Content-Length before anything is read, else by counting),
            408 too slow, 503 the one that gives way where all together are too large.
        ClientDisconnect: nobody is there any more.
    """
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > bodies.max_bytes:
        raise body_too_large(bodies.max_bytes)
    async with bodies.new() as body:
        async for chunk in request.stream():
            body.take(chunk)
        return bytes(body.content)


async def read_json(request: Request, bodies: UnfinishedBodies) -> Any:
    """The body as strict JSON; see `read_body` and `parse_json` for what is refused."""
    require_json(request)
    body = await read_body(request, bodies)
    if len(body) <= _PARSE_ON_LOOP_BYTES:
        return parse_json(body)
    return await asyncio.to_thread(parse_json, body)


def parse_json(body: bytes, *, pointer: str = "") -> Any:
    """Strict JSON: no NaN or Infinity, no number beyond a double, UTF-8, 1,024 levels at most.

    Args:
        body: the bytes.
        pointer: where the body stands, for errors.

    Raises:
        Problem: 400; it tells line and column, never the content. 413, more objects and arrays
            than `MAX_CONTAINERS`.
    """
    if len(body) > MAX_CONTAINERS and num_containers(body) > MAX_CONTAINERS:
        detail = f"The body holds more than {MAX_CONTAINERS} objects and arrays; send it in parts."
        raise Problem(
            413, "too_many_values", detail, errors=[ProblemItem(pointer, "too_many_values", detail)]
        )
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        # Reason and place are the parser's own words; exc.doc holds the text and stays here.
        where = f"line {exc.lineno}, column {exc.colno}"
        detail = f"The body is not strict JSON: {exc.msg} ({where})."
        raise Problem(
            400, "invalid_json", detail, errors=[ProblemItem(pointer, "invalid_json", detail)]
        ) from None


def num_containers(body: bytes) -> int:
    """How many objects and arrays a JSON text has; those of texts within it don't count."""
    most = body.count(b"{") + body.count(b"[")
    if most <= MAX_CONTAINERS:
        return most
    outside = b"".join(body.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2])
    return outside.count(b"{") + outside.count(b"[")


def validate(model: type[Model], value: object, *, pointer: str = "") -> Model:
    """`value` as a `model`.

    Raises:
        Problem: 422 that lists what is wrong where.
    """
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        raise Problem(
            422,
            "invalid_request",
            "The request does not have the expected form; `errors` says where.",
            errors=problem_items(exc, value, pointer=pointer),
        ) from None


def unwrap(body: object, *, form: type[Form], max_items: int) -> tuple[Form, bool]:
    """The envelope of a request, where a single item may also stand alone at the top level.

    Args:
        body: the parsed body.
        form: the envelope's model.
        max_items: the most items that one request may hold.

    Returns:
        The envelope, and whether the item stood alone.

    Raises:
        Problem: 422 for a wrong envelope, 413 for too many items.
    """
    if not isinstance(body, dict):
        detail = 'The body must be a JSON object with "items", or one item.'
        raise Problem(422, "invalid_request", detail, errors=[ProblemItem("", "dict_type", detail)])
    alone = "items" not in body and bool(body)
    if alone:
        if not _PAIR_KEYS.isdisjoint(body):
            raise Problem(
                422,
                "other_contract",
                "This is the body of vLLM's /score: send it to POST /v1/score. Here an item is "
                '{"prompt": …, "response": …}; see docs/guides/dialects.md.',
            )
        shared = {key: body[key] for key in form.model_fields if key in body}
        item = {key: value for key, value in body.items() if key not in shared}
        body = {**shared, "items": [item]}
    envelope = validate(form, body)
    require_at_most(len(envelope.items), max_items)
    return envelope, alone


async def read_items(
    request: Request,
    bodies: UnfinishedBodies,
    max_items: int,
    form: type[Form],
    model: type[Model] | Callable[[object], type[Model]],
) -> tuple[Form, list[Model | ItemFailure], bool]:
    """The envelope of a request, its items, and whether the one item stood alone.

    See `read_json`, `unwrap` and `validate_items` for what is taken and what is refused.
    """
    body = await read_json(request, bodies)
    envelope, alone = unwrap(body, form=form, max_items=max_items)
    return envelope, validate_items(envelope.items, model, alone=alone), alone


def require_at_most(num_items: int, max_items: int) -> None:
    """Refuse more items than one request may hold.

    Raises:
        Problem: 413.
    """
    if num_items > max_items:
        detail = f"{num_items} items; one request takes at most {max_items}. Send them in parts."
        raise Problem(
            413, "too_many_items", detail, errors=[ProblemItem("/items", "too_many_items", detail)]
        )


def item_pointer(index: int, *, alone: bool) -> str:
    """Where item `index` stands in the body."""
    return "" if alone else f"/items/{index}"


def validate_items(
    raw_items: Sequence[object],
    model: type[Model] | Callable[[object], type[Model]],
    *,
    alone: bool = False,
) -> list[Model | ItemFailure]:
    """Each item as a model, or what is wrong with that one; never an exception.

    Args:
        raw_items: parsed JSON values.
        model: the item's model, or a function that chooses one by looking at the raw item.
        alone: whether the one item stood at the top level, for its pointer.

    Returns:
        One entry per item, in order.
    """
    found: list[Model | ItemFailure] = []
    for index, raw in enumerate(raw_items):
        pointer = item_pointer(index, alone=alone)
        chosen = cast("type[Model]", model) if isinstance(model, type) else model(raw)
        try:
            found.append(chosen.model_validate(raw))
        except ValidationError as exc:
            first, *others = problem_items(exc, raw, pointer=pointer)
            found.append(
                ItemFailure(
                    code=first.code,
                    detail=first.detail,
                    pointer=first.pointer,
                    others=tuple(others),
                )
            )
    return found


def require_one_success(failures: Sequence[ItemFailure], num_items: int) -> None:
    """Refuse the whole request if none of its items succeeded.

    Raises:
        Problem: the gravest failure's status, 422 if all are the caller's; lists every failure.
    """
    if len(failures) < num_items or not failures:
        return
    status = max(failure.status for failure in failures)
    raise Problem(
        status,
        "invalid_items" if status < 500 else failures[0].code,
        "No item could be scored; `errors` says why, item by item.",
        errors=[error for failure in failures for error in failure.problem_items()],
    )


__all__ = [
    "GZIP",
    "JSON_MEDIA_TYPE",
    "NDJSON_MEDIA_TYPES",
    "ClientDisconnect",
    "item_pointer",
    "media_type",
    "parse_json",
    "read_body",
    "read_items",
    "read_json",
    "require_at_most",
    "require_encoding",
    "require_identity",
    "require_json",
    "require_one_success",
    "unwrap",
    "validate",
    "validate_items",
]
