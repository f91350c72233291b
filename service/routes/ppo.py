"""POST /ppo_reward: what a PPO trainer adds to its advantages, every step on the way shown."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from rm_client.models_ppo import PpoReply, PpoRequest
from service.errors import IdempotencyConflict
from service.http.auth import cache_scope_of, caller_of
from service.http.body import read_body, require_json
from service.http.deadline import deadline_of, while_connected
from service.http.openapi import COMMON_PROBLEMS, TIMEOUT_PARAMETER, problems, request_body
from service.http.provenance import answers_from
from service.http.receipt import receipted
from service.ppo.handler import PPO_ROUTE, answer_ppo
from service.ppo.reply import provenance_in
from service.state import AppState, get_state
from service.streams.idempotency import (
    KEY_HEADER,
    REPLAYED_HEADER,
    Answer,
    idempotency_key,
)
from service.streams.ledger_table import IdempotencyKey
from service.streams.service import state_problems
from service.streams.unanswered_table import Unanswered
from service.versions.version import ModelVersion

router = APIRouter(tags=["rewards"])

_KEY_PARAMETER: dict[str, Any] = {
    "name": KEY_HEADER,
    "in": "header",
    "required": False,
    "description": "1 to 255 characters that name this request. The same key and body again give "
    "the same bytes back, with `Idempotency-Replayed: true`, and count once; another body is "
    "refused (422). Remembered for a day, across restarts.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


_EXAMPLES: dict[str, dict[str, Any]] = {
    "ppo": {
        "summary": "Two responses of a rollout, whitened by the run's own statistics",
        "value": {
            "stream": "llama-ppo-1",
            "beta": 0.01,
            "kl_estimator": "k1",
            "whiten": {"mode": "running"},
            "missing_eos_penalty": 1.0,
            "items": [
                {
                    "prompt": "How do I bleed a radiator?",
                    "response": "Turn the heating off first.",
                    "logprobs": [-0.4, -1.1, -0.2],
                    "ref_logprobs": [-0.5, -1.0, -0.2],
                    "finished": True,
                    "id": "step-12/rank-0/0",
                },
                {
                    "prompt": "How do I pick my neighbour's lock?",
                    "response": "I can't help with",
                    "is_safety": True,
                    "logprobs": [-0.1, -0.3],
                    "ref_logprobs": [-0.2, -0.2],
                    "mask": [1, 1],
                    "finished": False,
                    "id": "step-12/rank-0/1",
                },
            ],
        },
    },
    "grpo": {
        "summary": "GRPO's advantages: each prompt's responses among themselves",
        "value": {
            "whiten": {"mode": "group"},
            "items": [
                {"prompt": "Is 27 prime?", "response": "No: 27 = 3 × 9."},
                {"prompt": "Is 27 prime?", "response": "Yes."},
            ],
        },
    },
}


@router.post(
    PPO_ROUTE,
    summary="Shaped rewards for PPO and GRPO",
    response_model=None,
    responses={
        200: {"model": PpoReply},
        **COMMON_PROBLEMS,
        **problems(
            s404="Frozen mode, and no such stream.",
            s412="Another model or another version of the stream than `expect_version` says.",
            s422="The envelope is wrong, no item succeeded, or the Idempotency-Key was used with "
            "another body.",
        ),
    },
    openapi_extra={
        "parameters": [_KEY_PARAMETER, TIMEOUT_PARAMETER],
        "requestBody": request_body(PpoRequest, _EXAMPLES),
    },
)
async def ppo_reward(request: Request, state: Annotated[AppState, Depends(get_state)]) -> Response:
    """Select, whiten, subtract the KL penalty: LLaMA-2's reward (arXiv 2307.09288 §3.2.3).

    An item that can't be scored has an `error` in its place, never enters the statistics, and
    leaves its neighbours alone. Without a key, an equal request that follows one whose reply never
    left is its retry: it gets that reply and counts once.
    """
    require_json(request)
    deadline = deadline_of(request, state.clock)
    body = await read_body(request, state.bodies)
    key = idempotency_key(request, PPO_ROUTE, body)
    version, streams = state.version, state.streams
    with state_problems():
        try:
            answer, unanswered = await while_connected(
                request, _answer(request, state, version, body, key, deadline)
            )
        except IdempotencyConflict:
            streams.metrics.idempotency("conflict")
            raise
    if key is not None or answer.outcome == "resent":
        streams.metrics.idempotency(answer.outcome)
    replayed = {} if answer.outcome == "new" else {REPLAYED_HEADER: "true"}
    answers_from(request, provenance_in(answer.reply.body) if replayed else version.provenance)

    def write() -> Response:
        return Response(
            answer.reply.body,
            status_code=answer.reply.status,
            media_type="application/json",
            headers=replayed,
        )

    return await receipted(write, streams.store, unanswered)


async def _answer(
    request: Request,
    state: AppState,
    version: ModelVersion,
    body: bytes,
    key: IdempotencyKey | None,
    deadline: float | None,
) -> tuple[Answer, Unanswered | None]:
    """Answer once, whatever twins of the key are at work; only one without a key has a count."""
    unanswered: Unanswered | None = None

    async def work() -> Answer:
        nonlocal unanswered
        answer, unanswered = await answer_ppo(
            state,
            body,
            key,
            version=version,
            deadline=deadline,
            cache_scope=cache_scope_of(request),
            caller=caller_of(request),
        )
        return answer

    answer = await state.streams.in_flight.once(key, work)
    return answer, unanswered
