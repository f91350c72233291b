"""PaddleNLP: POST / (`reward_server`), a batch of rendered prompts and responses.

Its client takes any failure for a reward of zero and goes on: it knows no status, no retry and no
time-out, and reads nothing but `score`. So a request waits for room as long as any does, and a
refusal has no `score`: the client logs a warning for each such batch. Set a fallback reward, or
watch for that line.
"""

from collections.abc import Mapping, Sequence
from typing import Any

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
from service.dialects.texts import answered
from service.http.body import validate


class PaddleNLPBody(ForeignModel):
    """Texts as the policy's ids were decoded, special tokens included; `tgt` is the labels'."""

    src: list[Any]
    response: list[Any]


def read(body: Mapping[str, Any], options: DialectOptions) -> ParsedBody:  # noqa: ARG001 (nothing to set)
    """The pairs; their prompts have been through a chat template."""
    asked = validate(PaddleNLPBody, body)
    if len(asked.src) != len(asked.response):
        raise bad_request("/response", "There must be as many responses as prompts in src.")
    pairs = zip(asked.src, asked.response, strict=True)
    places = [_place(prompt, response, index) for index, (prompt, response) in enumerate(pairs)]
    return ParsedBody(places, _render)


def _place(prompt: object, response: object, index: int) -> ParsedText:
    fields = {"prompt": f"/src/{index}", "response": f"/response/{index}"}
    if not isinstance(prompt, str):
        return wrong_type(fields["prompt"], "A text")
    if not isinstance(response, str):
        return wrong_type(fields["response"], "A text")
    return answered(prompt, response, fields, rendered=True)


def _render(text_rewards: Sequence[TextReward]) -> dict[str, Any]:
    return {
        "error_code": 0,
        "error_msg": "Success",
        "score": [given.reward for given in text_rewards],
    }


DIALECT = Dialect(
    name="paddlenlp",
    path="/",
    summary="PaddleNLP: scores of rendered prompts and responses; waits for room",
    body=PaddleNLPBody,
    example={
        "src": ["<s>[INST] Is 27 prime? [/INST]"],
        "tgt": [""],
        "response": [" No: 27 = 3 × 9.</s>"],
    },
    client_timeout=ClientTimeout(None, "requests.post without one"),
    read=read,
)
