"""align-anything: POST /get_reward with prompts and responses apart (`remote_rm_client`)."""

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


class AlignAnythingBody(ForeignModel):
    """Texts that belong together by their place."""

    prompts: list[Any]
    responses: list[Any]


def read(body: Mapping[str, Any], options: DialectOptions) -> ParsedBody:
    """The pairs of a body."""
    asked = validate(AlignAnythingBody, body)
    if len(asked.prompts) != len(asked.responses):
        raise bad_request("/responses", "There must be as many responses as prompts.")
    places = [
        _place(prompt, response, index, options)
        for index, (prompt, response) in enumerate(zip(asked.prompts, asked.responses, strict=True))
    ]
    return ParsedBody(places, _render)


def _place(prompt: object, response: object, index: int, options: DialectOptions) -> ParsedText:
    fields = {"prompt": f"/prompts/{index}", "response": f"/responses/{index}"}
    if not isinstance(prompt, str):
        return wrong_type(fields["prompt"], "A text")
    if not isinstance(response, str):
        return wrong_type(fields["response"], "A text")
    return answered(prompt, response, fields, rendered=options.rendered)


def _render(text_rewards: Sequence[TextReward]) -> dict[str, Any]:
    return {"rewards": [given.reward for given in text_rewards]}


DIALECT = Dialect(
    name="align_anything",
    path="/get_reward",
    summary="OpenRLHF and align-anything: rewards of texts",
    body=AlignAnythingBody,
    example={"prompts": ["Is 27 prime?"], "responses": ["No: 27 = 3 × 9."]},
    client_timeout=ClientTimeout(100, "remote_rm_client.py"),
    read=read,
    matches=lambda body: "responses" in body,
)
