"""LLaMA-Factory: POST /v1/score/evaluation (`reward_model_type: api`).

Messages are whole texts, not chats. The client knows no timeout, no retry and no error.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from rm_core.types import RenderedText
from service.dialects.base import (
    ClientTimeout,
    DialectOptions,
    ForeignModel,
    ParsedBody,
    ParsedText,
    TextInput,
    TextReward,
    wrong_type,
)
from service.dialects.handler import Dialect
from service.http.body import validate


class ScoreEvaluationBody(ForeignModel):
    """Texts to score, and optionally how many tokens of each are read."""

    messages: list[Any]
    max_length: int | None = Field(default=None, ge=1)


def read(body: Mapping[str, Any], options: DialectOptions) -> ParsedBody:
    """The texts, one score each."""
    asked = validate(ScoreEvaluationBody, body)
    places: list[ParsedText] = [
        TextInput(RenderedText(text, max_tokens=asked.max_length), f"/messages/{index}")
        if isinstance(text, str)
        else wrong_type(f"/messages/{index}", "A text")
        for index, text in enumerate(asked.messages)
    ]

    def render(text_rewards: Sequence[TextReward]) -> dict[str, Any]:
        return {
            "id": f"scoreval-{options.stamp.reply_id}",
            "object": "score.evaluation",
            "model": "rewardd",
            "scores": [given.reward for given in text_rewards],
        }

    return ParsedBody(places, render)


DIALECT = Dialect(
    name="llama_factory",
    path="/v1/score/evaluation",
    summary="LLaMA-Factory: scores of texts",
    body=ScoreEvaluationBody,
    example={"model": "model", "messages": ["[INST] Is 27 prime? [/INST] No: 27 = 3 × 9.</s>"]},
    client_timeout=ClientTimeout(None, "ppo_utils.py: requests.post without one"),
    read=read,
)
