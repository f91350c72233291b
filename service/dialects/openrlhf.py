"""OpenRLHF: POST /get_reward (`--reward.remote_url`), one sample or a whole shard.

A query is a whole text as the policy's ids were decoded, special tokens included. The consumer
merges `extra_logs` of all replies, so that its keys never change; with several addresses some get
an empty query. `scores` is filtered by an open interval in (0, 1).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rm_core.types import RenderedText
from service.dialects.base import (
    ClientTimeout,
    DialectOptions,
    ForeignModel,
    ParsedBody,
    ParsedText,
    TextInput,
    TextReward,
    bad_request,
    wrong_type,
)
from service.dialects.handler import Dialect
from service.http.body import validate


class OpenRLHFBody(ForeignModel):
    """What OpenRLHF's agent posts; `labels` are its own affair."""

    query: list[Any] | str | None = None
    queries: list[Any] | str | None = None
    prompts: list[Any] | str | None = None


def read(body: Mapping[str, Any], options: DialectOptions) -> ParsedBody:  # noqa: ARG001 (nothing to set)
    """The queries as rendered texts, their prompts telling where the responses begin."""
    asked = validate(OpenRLHFBody, body)
    field, given = ("query", asked.query)
    if given is None:
        field, given = ("queries", asked.queries)
    if given is None:
        raise bad_request("/query", 'The body needs "query": a list of texts.')
    queries = [given] if isinstance(given, str) else given
    prompts = [asked.prompts] if isinstance(asked.prompts, str) else asked.prompts or []
    if len(prompts) != len(queries):
        prompts = [None] * len(queries)
    places = [
        _place(query, prompt, f"/{field}/{index}" if isinstance(given, list) else f"/{field}")
        for index, (query, prompt) in enumerate(zip(queries, prompts, strict=True))
    ]
    return ParsedBody(places, _render)


def _place(query: object, prompt: object, pointer: str) -> ParsedText:
    if not isinstance(query, str):
        return wrong_type(pointer, "A text")
    known = isinstance(prompt, str) and query.startswith(prompt)
    return TextInput(RenderedText(query, len(prompt) if known else None), pointer)  # type: ignore[arg-type]


def _render(text_rewards: Sequence[TextReward]) -> dict[str, Any]:
    numbers = [given.numbers() for given in text_rewards]
    return {
        "rewards": [given.reward for given in text_rewards],
        "scores": [given.score for given in text_rewards],
        "extra_logs": {
            key: [one[key] for one in numbers] for key in (numbers[0] if numbers else ())
        },
    }


DIALECT = Dialect(
    name="openrlhf",
    path="/get_reward",
    summary="OpenRLHF and align-anything: rewards of texts",
    body=OpenRLHFBody,
    example={
        "query": ["<s>[INST] Is 27 prime? [/INST] No: 27 = 3 × 9.</s>"],
        "prompts": ["<s>[INST] Is 27 prime? [/INST]"],
        "labels": [None],
    },
    client_timeout=ClientTimeout(180, "openrlhf/utils/agent.py"),
    read=read,
)
