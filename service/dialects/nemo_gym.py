"""NeMo-Gym (NeMo-RL): POST /verify; the body comes back with its reward.

NeMo-RL asserts that the reward is the sum of its components, so that they are the selected model's
reward and zero. A text that can't be scored is a reply with `_ng_failure_class`, not an error.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from service.dialects.base import DialectOptions, ForeignModel, ParsedBody, TextReward
from service.dialects.handler import Dialect
from service.dialects.texts import TextPart, Turn, answered
from service.http.body import validate


class ResponsesEntry(ForeignModel):
    """An entry of an OpenAI Responses conversation; calls and reasoning have no role."""

    type: str = "message"
    role: str | None = Field(default=None, min_length=1, max_length=64)
    content: str | list[TextPart] | None = None


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
    chosen = given.roles[-1] if given.scored_response is None else given.scored_response.selected
    components = {role: given.reward if role == chosen else 0.0 for role in given.roles}
    reply: dict[str, Any] = {"reward": given.reward, "reward_components": components}
    if given.failure is not None:
        reply["_ng_failure_class"] = given.failure.code
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
    read=read,
    fails_inside=True,
    allows_nan=False,
)
