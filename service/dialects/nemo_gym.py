"""NeMo-Gym (NeMo-RL): a resources server. POST /verify gives the body back with its reward.

NeMo-RL asserts that the reward is the sum of its components, so that they are the selected model's
reward and zero. A text that can't be scored is an error, or gets the fallback reward beside
`_ng_failure_class`; never a zero of ours, which NeMo-RL would train on.

Its agents begin a rollout with POST /seed_session and end an evaluation with /aggregate_metrics.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ConfigDict, Field, ValidationInfo, field_validator

from rm_client.turns import Content, require_content
from rm_core.types import ROLES, ModelName
from service.dialects.base import (
    ClientTimeout,
    DialectOptions,
    ForeignModel,
    ParsedBody,
    TextReward,
    bad_request,
)
from service.dialects.handler import Dialect
from service.dialects.nemo_gym_metrics import FAILURE, ROLLOUT, TASK, aggregate_metrics
from service.dialects.texts import Turn, answered
from service.http.body import read_json, validate
from service.http.openapi import COMMON_PROBLEMS, request_body
from service.problems import json_reply
from service.state import AppState, get_state


class ResponsesEntry(ForeignModel):
    """An entry of an OpenAI Responses conversation; calls and reasoning have no role."""

    model_config = ConfigDict(validate_default=True)  # of a content that is left out

    type: str = "message"
    role: str | None = Field(default=None, min_length=1, max_length=64)
    content: Content = None

    @field_validator("content")
    @classmethod
    def _says_something(cls, content: Content, info: ValidationInfo) -> Content:
        return (
            content
            if info.data.get("type") != "message"
            else require_content(content, info.data.get("role"))
        )


class ResponsesParams(ForeignModel):
    """What the policy was asked."""

    input: str | list[ResponsesEntry] = ""
    instructions: str | None = None


class ResponsesOutput(ForeignModel):
    """What it answered."""

    output: list[ResponsesEntry]


class VerifyBody(ForeignModel):
    """A finished rollout; whatever else it holds comes back as it is."""

    responses_create_params: ResponsesParams
    response: ResponsesOutput


def read(body: Mapping[str, Any], options: DialectOptions) -> ParsedBody:
    """The last assistant message in the light of all before; tool calls are not rendered."""
    asked = validate(VerifyBody, body)
    given = asked.responses_create_params
    said = _turns(asked.response.output)
    response = said.pop().text if said and said[-1].role == "assistant" else ""
    prompt: str | list[Turn]
    if isinstance(given.input, str) and not given.instructions and not said:
        prompt = given.input
    else:
        asked_for = given.input
        before = [Turn(role="user", content=asked_for)] if isinstance(asked_for, str) else None
        system = [Turn(role="system", content=given.instructions)] if given.instructions else []
        prompt = [*system, *(before or _turns(given.input)), *said]
    fields = {"prompt": "/responses_create_params/input", "response": "/response/output"}
    place = answered(prompt, response, fields, rendered=options.rendered)

    def render(text_rewards: Sequence[TextReward]) -> dict[str, Any]:
        (given,) = text_rewards
        return {**body, **_reward(given)}

    return ParsedBody([place], render)


def _turns(entries: str | Sequence[ResponsesEntry]) -> list[Turn]:
    return [
        # OpenAI's newer word for the system's turn, which few templates know.
        Turn(role="system" if entry.role == "developer" else entry.role, content=entry.content)
        for entry in entries
        if isinstance(entry, ResponsesEntry) and entry.type == "message" and entry.role is not None
    ]


def _reward(given: TextReward) -> dict[str, Any]:
    names: tuple[ModelName, ...]
    chosen: ModelName
    if given.further is not None:
        names, chosen = (given.further,), given.further
    else:
        names = tuple(name for name in given.names if name in ROLES)
        response = given.scored_response
        chosen = (None if response is None else response.selected) or names[-1]
    components = {name: given.reward if name == chosen else 0.0 for name in names}
    reply: dict[str, Any] = {"reward": given.reward, "reward_components": components}
    if given.failure is not None:
        reply[FAILURE] = given.failure.code
    return reply


DIALECT = Dialect(
    name="nemo_gym",
    path="/verify",
    summary="NeMo-Gym: a rollout and its reward",
    body=VerifyBody,
    example={
        "responses_create_params": {"input": [{"role": "user", "content": "Is 27 prime?"}]},
        "response": {
            "output": [
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "No: 27 = 3 × 9."}],
                }
            ]
        },
    },
    client_timeout=ClientTimeout(None, "nemo_gym/server_utils.py: ClientTimeout()"),
    read=read,
    allows_nan=False,
)


class SeedBody(ForeignModel):
    """The rollout that begins; there is nothing to prepare for it."""


class MetricsBody(ForeignModel):
    """Replies of /verify, usually without their texts."""

    verify_responses: list[dict[str, Any]]


router = APIRouter(tags=["dialects"])
State = Annotated[AppState, Depends(get_state)]


@router.post(
    "/seed_session",
    summary="NeMo-Gym: a rollout begins",
    response_model=None,
    responses=COMMON_PROBLEMS,
    openapi_extra={"requestBody": request_body(SeedBody, {"any": {"value": {}}})},
)
async def seed_session(request: Request, state: State) -> Response:
    """An empty object: no session is kept here."""
    validate(SeedBody, await _body(request, state))
    return json_reply({})


@router.get("/reverify_mode", summary="NeMo-Gym: may rollouts be verified again?")
async def reverify_mode() -> str:
    """Yes ("stateless"): a reward depends on nothing but its rollout."""
    return "stateless"


@router.post(
    "/aggregate_metrics",
    summary="NeMo-Gym: the metrics of a run",
    response_model=None,
    responses=COMMON_PROBLEMS,
    openapi_extra={
        "requestBody": request_body(
            MetricsBody,
            {
                "two rollouts": {
                    "value": {
                        "verify_responses": [
                            {TASK: 0, ROLLOUT: 0, "reward": 1.5},
                            {TASK: 0, ROLLOUT: 1, "reward": -0.5},
                        ]
                    }
                }
            },
        )
    },
)
async def metrics(request: Request, state: State) -> Response:
    """Mean, max, min, median and deviation of all numbers of the rollouts, also by task."""
    asked = validate(MetricsBody, await _body(request, state))
    seen = set()
    for index, rollout in enumerate(asked.verify_responses):
        place = (rollout.get(TASK, 0), rollout.get(ROLLOUT, 0))
        pointer = f"/verify_responses/{index}"
        if not all(type(number) is int for number in place):
            raise bad_request(pointer, f"{TASK} and {ROLLOUT} must be integers.")
        if place in seen:
            raise bad_request(pointer, f"Another rollout has the same {TASK} and {ROLLOUT}.")
        seen.add(place)
    try:
        found = await asyncio.to_thread(aggregate_metrics, asked.verify_responses)
    except OverflowError:
        raise bad_request(
            "/verify_responses", "The numbers are too large to be averaged."
        ) from None
    return json_reply(found)


async def _body(request: Request, state: AppState) -> Any:
    return await read_json(request, state.bodies)
