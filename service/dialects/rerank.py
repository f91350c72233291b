"""Rerankers' contracts, a reward model being one: the query is the prompt, documents responses.

POST /rerank and /v1/rerank (vLLM, Cohere, Infinity) sort responses to one prompt, best first; POST
/v1/score (vLLM) gives the numbers in order. Both give σ, as theirs do, unless `use_activation` is
false or `raw_scores` (Infinity's word) true. Prompts go through the reward model's own template.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

from service.dialects.base import (
    ClientTimeout,
    DialectOptions,
    ForeignModel,
    ParsedBody,
    ParsedText,
    TextReward,
    bad_request,
    wrong_type,
)
from service.dialects.handler import Dialect
from service.dialects.models import DEFAULT_MODEL, reward_of_model
from service.dialects.texts import answered
from service.dialects.vllm import list_reply
from service.http.body import validate
from service.problems import printable

_PAIR_KEYS = (
    ("queries", "documents"),
    ("queries", "items"),
    ("text_1", "text_2"),
    ("data_1", "data_2"),
)


class ActivationBody(ForeignModel):
    """Whether σ is applied."""

    model: Any = None
    use_activation: bool | None = None
    raw_scores: bool = False

    def value(self, given: TextReward) -> float:
        """The number that is wanted of a text."""
        raw = self.raw_scores if self.use_activation is None else not self.use_activation
        return given.reward if raw else given.score


class RerankBody(ActivationBody):
    """A prompt and the responses to sort."""

    query: str
    documents: list[Any]
    top_n: int | None = Field(default=None, ge=0, description="How many come back; 0: all.")
    return_documents: bool | None = None


class PairsBody(ActivationBody):
    """Prompts and responses: one prompt for all, or one for each."""

    queries: str | list[Any]
    documents: str | list[Any]


def read_rerank(body: Mapping[str, Any], options: DialectOptions) -> ParsedBody:
    """The responses to the one prompt."""
    asked = validate(RerankBody, body)
    reward = reward_of_model(asked.model, options)
    places = [
        _place(asked.query, document, ("/query", f"/documents/{index}"), options)
        for index, document in enumerate(asked.documents)
    ]

    def render(text_rewards: Sequence[TextReward]) -> dict[str, Any]:
        order = sorted(range(len(text_rewards)), key=lambda at: -text_rewards[at].reward)
        tokens = sum(given.num_tokens for given in text_rewards)
        return {
            "id": f"rerank-{options.stamp.reply_id}",
            "object": "rerank",
            "model": reward or DEFAULT_MODEL,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "results": [
                _result(asked, at, text_rewards[at]) for at in order[: asked.top_n or len(order)]
            ],
        }

    return ParsedBody(places, render, reward)


def _result(asked: RerankBody, index: int, given: TextReward) -> dict[str, Any]:
    found: dict[str, Any] = {"index": index, "relevance_score": asked.value(given)}
    if "raw_scores" in asked.model_fields_set:  # Infinity's: the text itself, and only if asked for
        if asked.return_documents:
            found["document"] = printable(_text(asked.documents[index]) or "")
    elif asked.return_documents is not False:
        found["document"] = {"text": _text(asked.documents[index])}
    return found


def read_pairs(body: Mapping[str, Any], options: DialectOptions) -> ParsedBody:
    """The pairs of a body, whichever of vLLM's names it uses."""
    keys = next((keys for keys in _PAIR_KEYS if set(keys) <= body.keys()), _PAIR_KEYS[0])
    named = {ours: body[key] for ours, key in zip(_PAIR_KEYS[0], keys, strict=True) if key in body}
    asked = validate(PairsBody, {**body, **named})
    reward = reward_of_model(asked.model, options)
    prompts, responses = _listed(asked.queries), _listed(asked.documents)
    if len(prompts) not in (1, len(responses)):
        raise bad_request(f"/{keys[1]}", f"There must be as many as {keys[0]}, or one of these.")
    alone = isinstance(asked.queries, str), isinstance(asked.documents, str)
    places = []
    for index, response in enumerate(responses):
        at = index if len(prompts) > 1 else 0
        pointers = (
            f"/{keys[0]}" if alone[0] else f"/{keys[0]}/{at}",
            f"/{keys[1]}" if alone[1] else f"/{keys[1]}/{index}",
        )
        places.append(_place(prompts[at], response, pointers, options))

    def entry(index: int, given: TextReward) -> dict[str, Any]:
        return {"index": index, "object": "score", "score": asked.value(given)}

    model = reward or DEFAULT_MODEL
    return ParsedBody(
        places,
        lambda text_rewards: list_reply("score", options.stamp, model, text_rewards, entry),
        reward,
    )


def _listed(given: str | list[Any]) -> list[Any]:
    return [given] if isinstance(given, str) else given


def _text(document: object) -> str | None:
    if isinstance(document, Mapping):  # Cohere's form
        document = document.get("text")
    return document if isinstance(document, str) else None


def _place(
    prompt: object, document: object, pointers: tuple[str, str], options: DialectOptions
) -> ParsedText:
    response = _text(document)
    if not isinstance(prompt, str):
        return wrong_type(pointers[0], "A text")
    if response is None:
        return wrong_type(pointers[1], "A text")
    fields = dict(zip(("prompt", "response"), pointers, strict=True))
    return answered(prompt, response, fields, rendered=options.rendered)


RERANK = Dialect(
    name="rerank",
    path="/rerank",
    summary="vLLM, Cohere, Infinity: responses to one prompt, best first",
    body=RerankBody,
    example={"query": "Is 27 prime?", "documents": ["No: 27 = 3 × 9.", "Yes."]},
    client_timeout=ClientTimeout(None, "vLLM's examples: requests.post without one"),
    read=read_rerank,
)
RERANK_V1 = replace(RERANK, path="/v1/rerank")
PAIRS = replace(
    RERANK,
    path="/v1/score",
    summary="vLLM: scores of prompts with responses",
    body=PairsBody,
    example={"queries": "Is 27 prime?", "documents": ["No: 27 = 3 × 9.", "Yes."]},
    read=read_pairs,
)
