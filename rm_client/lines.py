"""Scoring without an end: items in parts that fit, answers in order.

HTTP clients send a whole body before they read, so one request for a file would stall as soon as
both sides' buffers were full. Parts smaller than the server's own window never can, and a broken
connection costs one part.
"""

import json
from collections.abc import Iterable, Iterator, Sequence

from pydantic import TypeAdapter, ValidationError

from rm_client.call import Call
from rm_client.checks import check_scores
from rm_client.errors import InvalidReply, InvalidRequest
from rm_client.models import (
    FailedReply,
    GroupReply,
    ResponseReply,
    ScoreItem,
    ScoreResult,
    TextOptions,
    Truncation,
)
from rm_client.wire import NDJSON_MEDIA_TYPE, dump, explain, score_items

MAX_LINES = 64
MAX_BYTES = 1024 * 1024

_RESULT: TypeAdapter[ScoreResult] = TypeAdapter(ResponseReply | GroupReply | FailedReply)


def line_calls(
    items: Iterable[object], *, truncate: Truncation, stop: Sequence[str] = (), first_index: int
) -> Iterator[Call[list[ScoreResult]]]:
    """Calls that together score `items`, each of at most 64 lines and about 1 MiB.

    Args:
        items: read only as far as the calls are taken.
        truncate: of every item.
        stop: of every item; see `TextOptions`.
        first_index: number of the first item; every result line must carry its item's number.

    Raises:
        InvalidRequest: an item is not valid.
    """
    if first_index < 0:
        raise InvalidRequest("first_index must not be negative")
    options = dump(_options(truncate, stop))[1:-1]
    option = b"," + options if options else b""
    models: list[ScoreItem] = []
    lines: list[bytes] = []
    num_bytes = 0
    begin = first_index
    for raw in items:
        (model,) = score_items([raw], first_index=begin + len(models))
        line = dump(model)[:-1] + option + b"}\n"
        if lines and (len(lines) == MAX_LINES or num_bytes + len(line) > MAX_BYTES):
            yield _call(models, lines, begin)
            begin += len(models)
            models, lines, num_bytes = [], [], 0
        models.append(model)
        lines.append(line)
        num_bytes += len(line)
    if lines:
        yield _call(models, lines, begin)


def _options(truncate: Truncation, stop: Sequence[str]) -> TextOptions:
    try:
        return TextOptions(truncate=truncate, stop=list(stop))
    except ValidationError as exc:
        raise InvalidRequest(f"the request is not valid: {explain(exc)}") from None


def _call(
    models: Sequence[ScoreItem], lines: Sequence[bytes], begin: int
) -> Call[list[ScoreResult]]:
    def parse(body: bytes) -> list[ScoreResult]:
        results = [_result(line, begin + number) for number, line in enumerate(body.splitlines())]
        check_scores(models, results)
        return results

    return Call(
        "POST",
        "/score",
        parse,
        b"".join(lines),
        media_type=NDJSON_MEDIA_TYPE,
        params={"first_index": str(begin)},
        num_items=len(models),
    )


def _result(line: bytes, index: int) -> ScoreResult:
    try:
        value = json.loads(line)
        found = value.pop("index")
        result = _RESULT.validate_python(value)
    except ValidationError as exc:
        raise InvalidReply(f"line {index} is not a result: {explain(exc)}") from None
    except (ValueError, AttributeError, KeyError, TypeError):
        raise InvalidReply(f"line {index} is not a JSON object with an index") from None
    if found != index:
        raise InvalidReply(f"line {index} came as number {found!r}")
    return result
