"""slime: POST /rm (`--rm-type remote_rm --rm-url …/rm`); the whole reply is the reward.

`?detail=1` gives an object instead, for `--reward-key`. `?rendered=1` where slime applies the chat
template to prompts itself (`--apply-chat-template`), so that it is not applied again here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from service.dialects.base import (
    ClientTimeout,
    DialectOptions,
    ForeignModel,
    ParsedBody,
    TextReward,
)
from service.dialects.handler import Dialect
from service.dialects.texts import Turn, answered
from service.http.body import validate


class SlimeBody(ForeignModel):
    """One sample of a text prompt; its `label` is slime's own affair."""

    prompt: str
    response: str


class SlimeChatBody(ForeignModel):
    """One sample of a chat."""

    prompt: list[Turn] = Field(min_length=1)
    response: str


def read(body: Mapping[str, Any], options: DialectOptions) -> ParsedBody:
    """The one sample."""
    # Chosen by the value, so that an error speaks of the form that was meant.
    is_chat = isinstance(body.get("prompt"), list)
    asked = validate(SlimeChatBody, body) if is_chat else validate(SlimeBody, body)
    fields = {"prompt": "/prompt", "response": "/response"}
    place = answered(asked.prompt, asked.response, fields, rendered=options.rendered)

    def render(text_rewards: Sequence[TextReward]) -> Any:
        (given,) = text_rewards
        if not options.detail:
            return given.reward
        return {"reward": given.reward, "score": given.score, **given.numbers()}

    return ParsedBody([place], render)


DIALECT = Dialect(
    name="slime",
    path="/rm",
    summary="slime: the reward of one sample, a bare number",
    body=SlimeBody,
    example={"prompt": "Is 27 prime?", "response": "No: 27 = 3 × 9.", "label": None},
    client_timeout=ClientTimeout(
        120, "slime/rollout/rm_hub/__init__.py; miles, which sends the same, waits 300 s"
    ),
    read=read,
)
