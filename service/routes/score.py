"""POST /score: rewards and scores of responses, as JSON or line by line."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from rm_client.models import ScoreReply, ScoreRequest, score_item_model
from rm_core.errors import RewardError
from service.batching.queue import Submission
from service.http.auth import cache_scope_of, caller_of
from service.http.body import (
    GZIP,
    NDJSON_MEDIA_TYPES,
    item_pointer,
    media_type,
    parse_json,
    read_items,
    require_encoding,
    require_one_success,
    unwrap,
    validate_items,
)
from service.http.deadline import deadline_of, while_connected
from service.http.ndjson import NDJSON_MEDIA_TYPE, NdjsonResponse, StreamBounds
from service.http.openapi import COMMON_PROBLEMS, TIMEOUT_PARAMETER, request_body
from service.http.provenance import answers_from
from service.problems import Problem, ProblemItem, json_reply, problem_from
from service.results import ItemFailure, ItemResult
from service.schemas.score import ScoreEnvelope
from service.scoring.detail import with_detail
from service.scoring.score_items import score_items
from service.scoring.score_reply import item_json
from service.state import AppState, get_state

router = APIRouter(tags=["rewards"])

ROUTE = "/score"

_ndjson_streams = itertools.count()

_EXAMPLES: dict[str, dict[str, Any]] = {
    "responses": {
        "summary": "Two responses, the second to a prompt about safety",
        "value": {
            "items": [
                {"prompt": "How do I bleed a radiator?", "response": "Turn the heating off first."},
                {
                    "prompt": "How do I pick my neighbour's lock?",
                    "response": "I can't help with getting into someone else's home.",
                    "is_safety": True,
                },
            ]
        },
    },
    "group": {
        "summary": "A group for GRPO",
        "value": {"items": [{"prompt": "Is 27 prime?", "responses": ["No: 3 × 9.", "Yes."]}]},
    },
    "rloo": {
        "summary": "A group with leave-one-out advantages, for RLOO",
        "value": {
            "items": [{"prompt": "Is 27 prime?", "responses": ["No: 3 × 9.", "Yes."]}],
            "advantages": "rloo",
        },
    },
    "tokens": {
        "summary": "The reward at every token too",
        "value": {"prompt": "Is 27 prime?", "response": "No: 3 × 9.", "detail": "tokens"},
    },
    "steps": {
        "summary": "The rewards of steps, and the weakest one's score",
        "value": {
            "prompt": "What is 12 · 12 + 6?",
            "steps": ["12 · 12 = 144.\n\n", "144 + 6 = 150.\n\n", "So it is 150."],
            "aggregation": "min",
        },
    },
    "chat": {
        "summary": "One chat, alone, its prompt cut if too long",
        "value": {
            "messages": [
                {"role": "user", "content": "Is 27 prime?"},
                {"role": "assistant", "content": "No: 27 = 3 × 9."},
            ],
            "truncate": "prompt",
        },
    },
}
_NDJSON_BODY = {
    NDJSON_MEDIA_TYPE: {
        "schema": {"type": "string", "description": "One item a line, as in `items`."},
        "example": '{"prompt": "Is 27 prime?", "response": "No: 27 = 3 × 9."}\n',
    }
}
_NDJSON_REPLY = {
    NDJSON_MEDIA_TYPE: {
        "schema": {"type": "string", "description": "One result or error a line, in order."}
    }
}


@router.post(
    ROUTE,
    summary="Score responses",
    response_model=None,
    responses={200: {"model": ScoreReply, "content": _NDJSON_REPLY}, **COMMON_PROBLEMS},
    openapi_extra={
        "parameters": [TIMEOUT_PARAMETER],
        "requestBody": request_body(ScoreRequest, _EXAMPLES, more=_NDJSON_BODY),
    },
)
async def score(
    request: Request,
    state: Annotated[AppState, Depends(get_state)],
    first_index: Annotated[
        int,
        Query(
            ge=0,
            le=2**53,
            description="NDJSON: the number of the first line, to resume a file part-way.",
        ),
    ] = 0,
) -> Response:
    """Each response's rewards and scores, and whose reward the safety rule selects.

    An item that can't be scored has an `error` in its place; the others are not affected. If none
    can be, the reply is a 422. A single item may stand alone and is then answered alone.
    NDJSON in, gzipped or not, gives NDJSON out: one line per line, in order, each with its `index`
    (and, if the models were replaced since the header left, with its `provenance`);
    read while you send, and resume after a break by sending the rest with `first_index`. Lines wait
    for room in the queue, and X-Request-Timeout-Ms does not apply to them.

    `detail` asks a causal model for the rewards of all tokens, or of steps, from the same forward;
    one reply holds `max_reply_rewards` of them at most (413 above it).
    """
    if media_type(request) in NDJSON_MEDIA_TYPES:
        return _stream(request, state, first_index)
    deadline = deadline_of(request, state.clock)
    envelope, items, alone = await read_items(
        request, state.bodies, state.settings.max_items, ScoreEnvelope, score_item_model
    )
    version = state.version
    answers_from(request, version.provenance)
    asked = [with_detail(item, envelope) for item in items]
    pointers = [item_pointer(index, alone=alone) for index in range(len(items))]
    results = await while_connected(
        request,
        score_items(
            state,
            asked,
            pointers,
            Submission(
                ROUTE,
                truncate=envelope.truncate,
                deadline=deadline,
                cache_scope=cache_scope_of(request),
                caller=caller_of(request),
                scorer=version.scorer,
            ),
            version,
        ),
    )
    _require_success(results)
    replies = [
        item_json(item, own, state.metrics, envelope)
        for item, own in zip(items, results, strict=True)
    ]
    return json_reply(replies[0] if alone else {"items": replies})


def _require_success(results: Sequence[Sequence[ItemResult]]) -> None:
    failures = [one for own in results for one in own if isinstance(one, ItemFailure)]
    if len(failures) == sum(len(own) for own in results):
        require_one_success(failures, len(results))


def _stream(request: Request, state: AppState, first_index: int) -> Response:
    compressed = require_encoding(request, *GZIP) in GZIP
    # A file has time: its lines wait in line for room where a lone request would be refused, and
    # for as long as their caller does.
    begun_with = state.version
    submission = Submission(
        ROUTE,
        "bulk",
        patience_seconds=math.inf,
        waits=True,
        cache_scope=cache_scope_of(request),
        caller=caller_of(request),
        scorer=begun_with.scorer,
        ndjson_stream=next(_ndjson_streams),
    )
    told = begun_with.provenance
    answers_from(request, told)

    async def score_line(line: bytes) -> dict[str, Any]:
        try:
            reply, provenance = await _score_line(state, line, submission)
        except Problem as exc:
            problem = exc
        except RewardError as exc:
            problem = problem_from(exc)
        else:
            # The header left before the models were replaced: what it can't say, the line does.
            return reply if provenance == told else {**reply, "provenance": provenance}
        first = problem.errors[0] if problem.errors else None
        item = ProblemItem(first.pointer if first else "", problem.code, problem.detail)
        if first is not None and problem.code == "invalid_items":
            item = first  # a line is one item: what is wrong with it is the line's problem
        return {"error": item.as_json()}

    return NdjsonResponse(
        request,
        score_line,
        StreamBounds(
            state.settings.max_body_bytes, state.settings.line_timeout_seconds, state.last_call
        ),
        compressed=compressed,
        first_index=first_index,
    )


async def _score_line(
    state: AppState, line: bytes, of_all: Submission
) -> tuple[dict[str, Any], str]:
    """A line's reply, and whose rewards it holds."""
    envelope, _ = unwrap(_lone_item(parse_json(line)), form=ScoreEnvelope, max_items=1)
    items = validate_items(envelope.items, score_item_model, alone=True)
    asked = [with_detail(item, envelope) for item in items]
    version = state.version
    submission = of_all  # most lines are read alike, and by the models that served at the beginning
    if (envelope.truncate, version.scorer) != (of_all.truncate, of_all.scorer):
        submission = dataclasses.replace(of_all, truncate=envelope.truncate, scorer=version.scorer)
    results = await score_items(state, asked, [""], submission, version)
    _require_success(results)
    return item_json(items[0], results[0], state.metrics, envelope), version.provenance


def _lone_item(value: object) -> object:
    if isinstance(value, dict) and "items" in value:
        raise Problem(422, "invalid_request", 'A line is one item; it has no "items".')
    return value
