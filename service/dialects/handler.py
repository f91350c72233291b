"""From a dialect's request to its reply: options, body, the core call, overload as clients bear it.

Texts wait for room a little less long than their client does. When that is over it is a 503 with
Retry-After, whatever `overload_status` says: veRL takes a 4xx for final, the others try again on
anything.
"""

import asyncio
import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel

from rm_client.models_base import MAX_STOP_CHARACTERS, MAX_STOPS
from service.batching.queue import Submission
from service.connections.unfinished import UnfinishedBodies
from service.dialects.base import (
    ClientTimeout,
    DialectOptions,
    ParsedBody,
    Stamp,
    TextInput,
    bad_request,
)
from service.dialects.reply import reply_of
from service.dialects.result import require_scored, text_rewards
from service.dialects.whitened import WhitenedCall, answer_whitened
from service.http.auth import cache_scope_of, caller_of
from service.http.body import parse_json, read_body, require_identity, require_json
from service.http.deadline import deadline_of, while_connected
from service.http.provenance import answers_from
from service.ppo.preconditions import require_selection
from service.problems import Problem, ProblemItem
from service.results import ItemResult
from service.scoring.score_items import score_items
from service.settings import DialectName, RewardKind, Settings, model_of_kind, reward_kinds
from service.state import AppState
from service.streams.idempotency import given_key
from service.streams.stream_table import is_name
from service.versions.version import ModelVersion

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
        client_timeout: how long its clients wait, from which follows how long their texts do.
        matches: whether a body is of this dialect, asked where several share a path.
        allows_nan: whether bodies with NaN or Infinity are read, which Python clients write.
        parse: reads a body that need not be declared as JSON; None: JSON alone.
    """

    name: DialectName
    path: str
    summary: str
    body: type[BaseModel]
    example: Mapping[str, Any]
    read: Callable[[Mapping[str, Any], DialectOptions], ParsedBody]
    client_timeout: ClientTimeout
    matches: Callable[[Mapping[str, Any]], bool] = lambda _: True
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
        Problem: the body can't be understood, a text can't be scored, or there was no room for it
            in the time that the dialect's clients allow.
    """
    deadline = deadline_of(request, state.clock)
    options = options_of(request, state)
    given_key(request)  # one that can't be a key is told of, also where nothing is counted
    raw, body = await _read(request, state.bodies, dialects)
    version = state.version
    answers_from(request, version.provenance)
    dialect = next((one for one in dialects if one.matches(body)), dialects[-1])
    parsed = dialect.read(body, options)
    kind = _reward_kind(request, version, parsed, options)
    submission = dataclasses.replace(
        _submission(dialect, deadline, state.clock()),
        num_bytes=len(raw),
        cache_scope=cache_scope_of(request),
        caller=caller_of(request),
    )
    if kind != "whitened":
        raw = b""  # who waits long shall not keep it beside what was read of it
    fallback = state.settings.dialect_fallback_reward
    places = [
        one.without_stops(options.stops) if isinstance(one, TextInput) else one
        for one in parsed.places
    ]

    async def score() -> list[ItemResult]:
        scoring = score_items(state, places, [""] * len(places), submission, version)
        results = [only for (only,) in await while_connected(request, scoring)]
        return require_scored(results, kind, fallback=fallback)

    if kind == "whitened":

        def read(stamp: Stamp) -> ParsedBody:
            return dialect.read(body, dataclasses.replace(options, stamp=stamp))

        call = WhitenedCall(request, state, raw, options, fallback, parsed, read, score, version)
        return await answer_whitened(call)
    found = text_rewards(await score(), kind, version.rule.names, fallback=fallback)
    return reply_of(parsed, found)


def _submission(dialect: Dialect, deadline: float | None, now: float) -> Submission:
    """How a dialect's texts wait: cut to fit, and in line as long as the client bears it."""
    patience = dialect.client_timeout.patience_seconds
    if deadline is not None:
        patience = deadline - now + 1.0  # what the caller says itself is what counts
    return Submission(dialect.path, "bulk", "left", deadline, patience, waits=True)


def options_of(request: Request, state: AppState) -> DialectOptions:
    """What the query says, and where it is silent the settings.

    Raises:
        Problem: 422, a parameter is wrong or names a model that isn't loaded.
    """
    query, settings = request.query_params, state.settings
    name = request.path_params.get("name", "")
    reward: Any = query.get("reward", settings.dialect_reward)
    stream = query.get("stream", settings.dialect_stream)
    rule = state.version.rule
    kinds = reward_kinds(rule.further)
    if reward not in kinds:
        raise _bad_parameter("reward", f"one of {', '.join(kinds)}")
    own = model_of_kind(reward)
    if own is not None and own not in rule.names:
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
        rule.further,
    )


def _reward_kind(
    request: Request, version: ModelVersion, parsed: ParsedBody, options: DialectOptions
) -> RewardKind:
    """Which number is given: the address's, else that of the model that the body names."""
    if parsed.reward is None or "reward" in request.query_params:
        if model_of_kind(options.reward) is None:
            require_selection(version.profiles)
        return options.reward
    if parsed.reward not in version.rule.names:
        raise Problem(
            404, "unknown_model", "No such model is loaded; GET /v1/models lists those that are."
        )
    return parsed.reward


async def _read(
    request: Request, bodies: UnfinishedBodies, dialects: Sequence[Dialect]
) -> tuple[bytes, Mapping[str, Any]]:
    """The body, as bytes and understood as a JSON object."""
    own_parse = dialects[-1].parse
    if own_parse is None:
        require_json(request)
    else:
        require_identity(request)
    raw = await read_body(request, bodies)
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
    return raw, body


def parse_tolerantly(raw: bytes) -> Any:
    """JSON, also with the NaN that Python's own json writes (a dataset's empty label is one)."""
    try:
        return parse_json(raw)
    except Problem as strict:
        if strict.code != "invalid_json":
            raise
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            raise strict from None


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
