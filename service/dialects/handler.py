"""From a dialect's request to its reply: options, body, the core call, overload as clients bear it.

Refusals are always 503 with Retry-After, whatever `overload_status` says: veRL takes a 4xx for
final, the others try again on anything.
"""

import asyncio
import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import orjson
from fastapi import Request, Response
from pydantic import BaseModel

from rm_client.models_base import MAX_STOP_CHARACTERS, MAX_STOPS
from service.batching.queue import Submission
from service.dialects.base import (
    DialectOptions,
    ParsedBody,
    ParsedText,
    RewardKind,
    TextInput,
    bad_request,
)
from service.dialects.result import text_rewards
from service.http.body import parse_json, read_body, require_identity, require_json
from service.http.deadline import deadline_of, while_connected
from service.problems import Problem, ProblemItem, json_reply
from service.results import ItemResult
from service.scoring.score_items import score_items
from service.settings import DialectName, Settings
from service.state import AppState
from service.streams.stream_table import is_name

_ROOM_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 7 * 24 * 3600.0
_PARSE_ON_LOOP_BYTES = 64 * 1024
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Dialect:
    """One project's contract on one path.

    Attributes:
        name: of the dialect; one may have several paths.
        path: as the project's clients call it.
        summary: for the API's documentation.
        body: model of the body, for the documentation.
        example: a body, for the documentation.
        read: understands a body; raises Problem where it can't.
        matches: whether a body is of this dialect, asked where several share a path.
        waits: whether requests wait for room instead of being refused, their clients knowing no
            retry.
        allows_nan: whether bodies with NaN or Infinity are read, which Python clients write.
        parse: reads a body that need not be declared as JSON; None: JSON alone.
    """

    name: DialectName
    path: str
    summary: str
    body: type[BaseModel]
    example: Mapping[str, Any]
    read: Callable[[Mapping[str, Any], DialectOptions], ParsedBody]
    matches: Callable[[Mapping[str, Any]], bool] = lambda _: True
    waits: bool = False
    allows_nan: bool = True
    parse: Callable[[Request, bytes], Any] | None = None


async def answer_dialect(
    request: Request, state: AppState, dialects: Sequence[Dialect]
) -> Response:
    """Answer one request by the first of a path's dialects that its body speaks.

    Args:
        request: its body unread.
        state: the running service.
        dialects: of the path, those switched on; at least one.

    Raises:
        Problem: the body can't be understood, a text can't be scored, or the service is too busy.
    """
    deadline = deadline_of(request, state.clock)
    options = options_of(request, state)
    body = await _read(request, state.settings, dialects)
    dialect = next((one for one in dialects if one.matches(body)), dialects[-1])
    parsed = dialect.read(body, options)
    kind = _reward_kind(request, state, parsed, options)
    score = _score_patiently if dialect.waits else _score
    places = [
        one.without_stops(options.stops) if isinstance(one, TextInput) else one
        for one in parsed.places
    ]
    submission = Submission(dialect.path, "bulk", "prompt", deadline)
    results = await while_connected(request, score(state, places, submission))
    fallback = state.settings.dialect_fallback_reward
    found = await text_rewards(state, results, kind, options.stream, fallback=fallback)
    try:
        reply = parsed.render(found)
        return reply if isinstance(reply, Response) else json_reply(reply)
    except orjson.JSONEncodeError:
        raise bad_request("", "The body can't be repeated as JSON; nest it less deeply.") from None


def options_of(request: Request, state: AppState) -> DialectOptions:
    """What the query says, and where it is silent the settings.

    Raises:
        Problem: 422, a parameter is wrong or names a model that isn't loaded.
    """
    query, settings = request.query_params, state.settings
    name = request.path_params.get("name", "")
    reward: Any = query.get("reward", settings.dialect_reward)
    stream = query.get("stream", settings.dialect_stream)
    if reward not in get_args(RewardKind):
        raise _bad_parameter("reward", f"one of {', '.join(get_args(RewardKind))}")
    if reward in ("safety", "helpfulness") and reward not in state.rule.roles:
        raise _bad_parameter("reward", "that of a loaded model; see GET /v1/info")
    if not is_name(stream):
        raise _bad_parameter("stream", "a stream's name: 1 to 64 of A-Z, a-z, 0-9, . _ -")
    return DialectOptions(
        reward,
        stream,
        _flag(request, "detail"),
        _flag(request, "rendered"),
        name,
        _stops(request, settings),
    )


def _reward_kind(
    request: Request, state: AppState, parsed: ParsedBody, options: DialectOptions
) -> RewardKind:
    """Which number is given: the address's, else that of the model that the body names."""
    if parsed.reward is None or "reward" in request.query_params:
        return options.reward
    if parsed.reward not in state.rule.roles:
        raise Problem(
            404, "unknown_model", "No such model is loaded; GET /v1/models lists those that are."
        )
    return parsed.reward


async def _read(
    request: Request, settings: Settings, dialects: Sequence[Dialect]
) -> Mapping[str, Any]:
    own_parse = dialects[-1].parse
    if own_parse is None:
        require_json(request)
    else:
        require_identity(request)
    raw = await read_body(
        request, max_bytes=settings.max_body_bytes, timeout_seconds=settings.body_timeout_seconds
    )
    parse: Callable[[bytes], Any]
    if own_parse is not None:
        parse = functools.partial(own_parse, request)
    else:
        allows_nan = all(dialect.allows_nan for dialect in dialects)
        parse = parse_tolerantly if allows_nan else parse_json
    if len(raw) <= _PARSE_ON_LOOP_BYTES:
        body = parse(raw)
    else:
        body = await asyncio.to_thread(parse, raw)
    if not isinstance(body, dict):
        raise bad_request("", "The body must be a JSON object.")
    return body


def parse_tolerantly(raw: bytes) -> Any:
    """JSON, also with the NaN that Python's own json writes (a dataset's empty label is one)."""
    try:
        return parse_json(raw)
    except Problem as strict:
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            raise strict from None


async def _score(
    state: AppState, places: Sequence[ParsedText], submission: Submission
) -> list[ItemResult]:
    try:
        results = await score_items(state, places, [""] * len(places), submission)
    except Problem as exc:
        if exc.code != "overloaded":
            raise
        raise Problem(503, exc.code, exc.detail, headers=exc.headers) from exc
    return [only for (only,) in results]


async def _score_patiently(
    state: AppState, places: Sequence[ParsedText], submission: Submission
) -> list[ItemResult]:
    """Score texts in as many parts as it takes, whenever there is room."""
    patient = dataclasses.replace(submission, patience_seconds=_PATIENCE_SECONDS)
    while True:
        try:
            return await _score(state, places, patient)
        except Problem as exc:
            too_large = exc.code in ("too_many_items", "too_many_tokens")
            if too_large and len(places) > 1:
                break
            if exc.code != "overloaded":
                raise
        await asyncio.sleep(_ROOM_POLL_SECONDS)
    middle = len(places) // 2
    parts = (places[:middle], places[middle:])
    done = [await _score_patiently(state, part, submission) for part in parts]
    return [*done[0], *done[1]]


def _stops(request: Request, settings: Settings) -> tuple[str, ...]:
    given = request.query_params.getlist("stop")
    if not given:
        return settings.dialect_stop
    if len(given) > MAX_STOPS or any(len(stop) > MAX_STOP_CHARACTERS for stop in given):
        raise _bad_parameter(
            "stop",
            f"a stop token of at most {MAX_STOP_CHARACTERS} characters, given at most {MAX_STOPS} "
            "times; empty takes none off",
        )
    return tuple(stop for stop in given if stop)


def _flag(request: Request, name: str) -> bool:
    given = request.query_params.get(name, "0").lower()
    if given not in _TRUE | _FALSE:
        raise _bad_parameter(name, "1 or 0")
    return given in _TRUE


def _bad_parameter(name: str, expected: str) -> Problem:
    detail = f"The query parameter {name} must be {expected}."
    return Problem(
        422, "invalid_parameter", detail, errors=[ProblemItem("", "invalid_parameter", detail)]
    )
