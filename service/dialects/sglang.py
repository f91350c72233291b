"""SGLang's key set on POST /classify: the reward as a vector of one number, never activated.

The recipe of published reward models (eight servers, `{"text": [...]}`, `[i]["embedding"][0]`)
speaks it. Texts come with their BOS stripped; it is put back. One text gets one object, a list a
list.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from service.dialects.base import DialectOptions, ForeignModel, ParsedBody, TextReward, bad_request
from service.dialects.handler import Dialect
from service.dialects.texts import texts_or_ids
from service.http.body import validate
from service.problems import printable


class SGLangBody(ForeignModel):
    """Texts or token ids; `rid` names the requests."""

    text: str | list[Any] | None = None
    input_ids: list[Any] | None = None
    rid: str | list[str] | None = None


def read(body: Mapping[str, Any], options: DialectOptions) -> ParsedBody:  # noqa: ARG001 (nothing to set)
    """The texts or ids of a body."""
    asked = validate(SGLangBody, body)
    if "conv" in body:
        raise bad_request(
            "/conv",
            'SGLang\'s old "conv" is not read: send {"messages": […]} for a chat, or {"text": […]} '
            "for texts that have been through a chat template.",
        )
    if asked.text is not None:
        places, alone = texts_or_ids(asked.text, "/text")
    elif asked.input_ids is not None:
        places, alone = texts_or_ids(asked.input_ids, "/input_ids")
    else:
        raise bad_request("/text", 'The body needs "text" or "input_ids".')
    names = [asked.rid] * len(places) if isinstance(asked.rid, str) else asked.rid
    if names is not None and len(names) != len(places):
        raise bad_request("/rid", "There must be as many names as texts.")

    def render(text_rewards: Sequence[TextReward]) -> Any:
        found = [
            _entry(given, None if names is None else names[index])
            for index, given in enumerate(text_rewards)
        ]
        return found[0] if alone else found

    return ParsedBody(places, render)


def _entry(given: TextReward, name: str | None) -> dict[str, Any]:
    meta: dict[str, Any] = {"prompt_tokens": given.num_tokens}
    if name is not None:
        meta["id"] = printable(name)
    return {"embedding": [given.reward], "meta_info": meta}


DIALECT = Dialect(
    name="sglang",
    path="/classify",
    summary="vLLM (veRL) and SGLang: one number a text",
    body=SGLangBody,
    example={"model": "rewardd", "text": ["[INST] Is 27 prime? [/INST] No: 27 = 3 × 9.</s>"]},
    read=read,
    matches=lambda body: not body.keys().isdisjoint(("text", "input_ids", "conv")),
)
