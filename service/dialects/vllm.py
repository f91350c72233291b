"""vLLM's scoring routes, in the manner of OpenAI: POST /classify, /pooling and /v1/embeddings.

veRL asks /classify with `use_activation: false` and reads `data[-1].probs[-1]`, or /v1/embeddings
and reads `data[-1].embedding[-1]`; it strips the BOS from its texts and expects it to be put back.

A `model` that GET /v1/models lists chooses the reward; any other is ignored. /pooling's `task` may
be "classify" (σ, as vLLM does it, unless told otherwise); what gives one number a token or an
embedding is refused by its name.
"""

import base64
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from service.dialects.base import (
    ClientTimeout,
    DialectOptions,
    ForeignModel,
    ParsedBody,
    ParsedText,
    Stamp,
    TextReward,
    bad_request,
)
from service.dialects.handler import Dialect
from service.dialects.models import DEFAULT_MODEL, reward_of_model
from service.dialects.texts import Turn, chat, texts_or_ids
from service.http.body import validate

Entry = Callable[[int, TextReward], dict[str, Any]]
"""What is said of one text, by its index."""


class VLLMBody(ForeignModel):
    """Texts, token ids or one chat, and how to read them."""

    model: Any = None
    input: Any = None
    messages: list[Turn] | None = None
    add_special_tokens: bool | None = Field(
        default=None, description="False adds neither BOS nor EOS to texts in `input`."
    )
    truncate_prompt_tokens: int | None = Field(
        default=None,
        ge=-1,
        description="Keep so many tokens from the end of each text in `input`; -1 as many as fit.",
    )
    use_activation: bool | None = Field(default=None, description="False: rewards; true: scores.")
    activation: bool | None = Field(default=None, description="Older name of use_activation.")
    softmax: bool | None = Field(default=None, description="Oldest name of use_activation.")
    encoding_format: Literal["float", "base64"] = "float"

    def activated(self, *, by_default: bool) -> bool:
        """Whether σ is to be applied; the newest name that is given decides."""
        given = (self.use_activation, self.activation, self.softmax)
        return next((flag for flag in given if flag is not None), by_default)


class PoolingBody(VLLMBody):
    """The same, and what is wanted of each text."""

    task: str | None = Field(
        default=None,
        description="None or reward: rewards; classify or score: scores. Others are refused.",
    )


def read_classify(body: Mapping[str, Any], options: DialectOptions) -> ParsedBody:
    """VLLM's /classify: scores unless told otherwise."""
    asked = validate(VLLMBody, body)
    if "raw_scores" in body:
        raise bad_request(
            "/raw_scores", "This is Infinity's contract, which is switched off here; see /v1/info."
        )
    activated = asked.activated(by_default=True)

    def entry(index: int, given: TextReward) -> dict[str, Any]:
        value = given.score if activated else given.reward
        return {"index": index, "label": "LABEL_0", "probs": [value], "num_classes": 1}

    return _parsed(asked, options, "classify", entry)


def read_pooling(body: Mapping[str, Any], options: DialectOptions) -> ParsedBody:
    """VLLM's /pooling: rewards unless told otherwise, also by the task."""
    asked = validate(PoolingBody, body)
    if asked.task not in _POOLED_TASKS:
        raise bad_request("/task", _OTHER_TASKS.get(str(asked.task), _UNKNOWN_TASK))
    activated = asked.activated(by_default=_POOLED_TASKS[asked.task])
    return _vectors(asked, options, "pool", "pooling", "data", activated=activated)


def read_embeddings(body: Mapping[str, Any], options: DialectOptions) -> ParsedBody:
    """OpenAI's /v1/embeddings: a reward as a vector of one number."""
    asked = validate(VLLMBody, body)
    activated = asked.activated(by_default=False)
    return _vectors(asked, options, "embd", "embedding", "embedding", activated=activated)


def _vectors(
    asked: VLLMBody, options: DialectOptions, prefix: str, kind: str, field: str, *, activated: bool
) -> ParsedBody:
    def entry(index: int, given: TextReward) -> dict[str, Any]:
        value = given.score if activated else given.reward
        vector: list[float] | str = [value]
        if asked.encoding_format == "base64":  # what OpenAI's own client asks for by default
            vector = base64.b64encode(struct.pack("<f", value)).decode()
        return {"index": index, "object": kind, field: vector}

    return _parsed(asked, options, prefix, entry)


def _parsed(asked: VLLMBody, options: DialectOptions, prefix: str, entry: Entry) -> ParsedBody:
    reward = reward_of_model(asked.model, options)
    model = reward or DEFAULT_MODEL
    return ParsedBody(
        _places(asked),
        lambda text_rewards: list_reply(prefix, options.stamp, model, text_rewards, entry),
        reward,
    )


def _places(asked: VLLMBody) -> Sequence[ParsedText]:
    if asked.messages is not None:
        return [chat(asked.messages, "/messages")]
    if asked.input is None:
        raise bad_request("/input", 'The body needs "input" or "messages".')
    if asked.truncate_prompt_tokens == 0:
        raise bad_request("/truncate_prompt_tokens", "No token is left to judge; send 1 or more.")
    limit = asked.truncate_prompt_tokens
    places, _ = texts_or_ids(
        asked.input,
        "/input",
        add_special_tokens=asked.add_special_tokens is not False,
        max_tokens=limit if limit is not None and limit > 0 else None,
    )
    return places


def list_reply(
    prefix: str, stamp: Stamp, model: str, text_rewards: Sequence[TextReward], entry: Entry
) -> dict[str, Any]:
    """OpenAI's list of results.

    Args:
        prefix: of the reply's id.
        stamp: of the reply.
        model: the name of the model that answers.
        text_rewards: in order.
        entry: the result of one, by its index.
    """
    tokens = sum(given.num_tokens for given in text_rewards)
    return {
        "id": f"{prefix}-{stamp.reply_id}",
        "object": "list",
        "created": stamp.created,
        "model": model,
        "data": [entry(index, given) for index, given in enumerate(text_rewards)],
        "usage": {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens},
    }


# Tasks that give one number a text, and whether σ is applied unless told otherwise.
_POOLED_TASKS: dict[str | None, bool] = {
    None: False,
    "reward": False,
    "encode": False,
    "classify": True,
    "score": True,
}
_OTHER_TASKS = {
    "token_classify": "One number a token is not given here; POST /score with "
    '"detail": "tokens" has them, and without task one a text comes.',
    "embed": "A reward model gives no embeddings; leave task out for the reward of each text.",
    "token_embed": "A reward model gives no embeddings; leave task out for the reward of each "
    "text.",
}
_UNKNOWN_TASK = "Of the tasks only classify, score and reward are served; or leave task out."

_EXAMPLE = {
    "model": "rewardd",
    "input": "<s>[INST] Is 27 prime? [/INST] No: 27 = 3 × 9.</s>",
    "use_activation": False,
}
CLASSIFY = Dialect(
    name="vllm",
    path="/classify",
    summary="vLLM (veRL) and SGLang: one number a text",
    body=VLLMBody,
    example=_EXAMPLE,
    client_timeout=ClientTimeout(None, "veRL: reward_loop.py, total=None"),
    read=read_classify,
)
POOLING = replace(
    CLASSIFY,
    path="/pooling",
    summary="vLLM: a reward as a pooled vector",
    body=PoolingBody,
    read=read_pooling,
)
EMBEDDINGS = replace(
    CLASSIFY,
    name="embeddings",
    path="/v1/embeddings",
    summary="OpenAI, SGLang (veRL): a reward as an embedding",
    example={"model": "rewardd", "input": _EXAMPLE["input"]},
    client_timeout=ClientTimeout(600, "openai 3.57: _constants.py; veRL has none"),
    read=read_embeddings,
)
