"""POST /compare: which of several responses is better, and how surely."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from rm_client.models import CompareItem, CompareReply, CompareRequest
from service.batching.queue import Submission
from service.http.auth import cache_scope_of, caller_of
from service.http.body import item_pointer, read_items, require_one_success
from service.http.deadline import deadline_of, while_connected
from service.http.openapi import COMMON_PROBLEMS, TIMEOUT_PARAMETER, request_body
from service.http.provenance import answers_from
from service.problems import json_reply
from service.results import ItemFailure
from service.schemas.score import CompareEnvelope, ScorableWireItem
from service.scoring.compare_reply import comparison_json
from service.scoring.score_items import score_items
from service.state import AppState, get_state

router = APIRouter(tags=["rewards"])

ROUTE = "/compare"

_EXAMPLES: dict[str, dict[str, Any]] = {
    "pair": {
        "summary": "Two responses",
        "value": {
            "items": [
                {"prompt": "Is 27 prime?", "responses": ["No: 27 = 3 × 9.", "Yes, it is prime."]}
            ]
        },
    }
}


@router.post(
    ROUTE,
    summary="Compare responses",
    response_model=None,
    responses={200: {"model": CompareReply}, **COMMON_PROBLEMS},
    openapi_extra={
        "parameters": [TIMEOUT_PARAMETER],
        "requestBody": request_body(CompareRequest, _EXAMPLES),
    },
)
async def compare(request: Request, state: Annotated[AppState, Depends(get_state)]) -> Response:
    """Winner, ranking and pairwise probabilities, by the selected reward and by each model.

    Equal rewards are a tie: they share a rank, and a tie for the first place has no winner. An item
    of which any response can't be scored has an `error` in its place.
    """
    deadline = deadline_of(request, state.clock)
    envelope, items, alone = await read_items(
        request, state.bodies, state.settings.max_items, CompareEnvelope, CompareItem
    )
    version = state.version
    answers_from(request, version.provenance)
    asked = [
        one if isinstance(one, ItemFailure) else ScorableWireItem.of(one, envelope) for one in items
    ]
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
            ),
            version,
        ),
    )
    compared = [
        comparison_json(own, pointer, state.metrics)
        for own, pointer in zip(results, pointers, strict=True)
    ]
    require_one_success([one for one in compared if isinstance(one, ItemFailure)], len(compared))
    replies = [one.as_json() if isinstance(one, ItemFailure) else one for one in compared]
    return json_reply(replies[0] if alone else {"items": replies})
