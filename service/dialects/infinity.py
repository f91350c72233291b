"""Infinity's POST /classify: a list of labels for each text (infinity_client); and GET /models.

Its body always has `raw_scores`, by which it is told from vLLM's: false asks for σ, as Infinity
gives it, true for the reward.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

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
from service.dialects.models import DEFAULT_MODEL, models_list, reward_of_model
from service.dialects.vllm import list_reply
from service.http.body import validate
from service.problems import json_reply
from service.state import AppState, get_state


class InfinityBody(ForeignModel):
    """Whole texts."""

    input: list[Any]
    model: Any = None
    raw_scores: bool


def read(body: Mapping[str, Any], options: DialectOptions) -> ParsedBody:
    """The texts; each has one label."""
    asked = validate(InfinityBody, body)
    places: list[ParsedText] = [
        TextInput(RenderedText(text), f"/input/{index}")
        if isinstance(text, str)
        else wrong_type(f"/input/{index}", "A text")
        for index, text in enumerate(asked.input)
    ]
    reward = reward_of_model(asked.model, options)

    def entry(_: int, given: TextReward) -> Any:
        return [{"score": given.reward if asked.raw_scores else given.score, "label": "LABEL_0"}]

    return ParsedBody(
        places,
        lambda text_rewards: {
            **list_reply("classify", options.stamp, reward or DEFAULT_MODEL, text_rewards, entry),
            "object": "classify",
        },
        reward,
    )


DIALECT = Dialect(
    name="infinity",
    path="/classify",
    summary="vLLM (veRL), SGLang and Infinity: one number a text",
    body=InfinityBody,
    example={
        "model": "rewardd",
        "input": ["[INST] Is 27 prime? [/INST] No: 27 = 3 × 9.</s>"],
        "raw_scores": True,
    },
    client_timeout=ClientTimeout(None, "infinity_client 0.0.78: timeout=None"),
    read=read,
    matches=lambda body: "raw_scores" in body,
)

router = APIRouter(tags=["dialects"])
_KEPT = ("id", "object", "created")


@router.get("/models", summary="Infinity: the models", response_model=None)
async def models(state: Annotated[AppState, Depends(get_state)]) -> Response:
    """The names of GET /v1/models in Infinity's form."""
    listed = models_list(state)
    own = {"stats": {}, "backend": "rewardd", "capabilities": ["classify", "rerank"]}
    cards = [{**{key: card[key] for key in _KEPT}, **own} for card in listed["data"]]
    return json_reply({**listed, "data": cards})
