"""A reward model as a chat model: POST /v1/chat/completions, the number in the message's content.

`swift deploy` of a reward model answers the bare number; NVIDIA's NIM answers `reward:-18.75`, the
number also as the log-probability of a token `reward` (Curator, CAMEL read it there). Their clients
can be given a base address and no more, so that NIM's have one of their own: `/nim/v1`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from service.dialects.base import (
    ClientTimeout,
    DialectOptions,
    ForeignModel,
    ParsedBody,
    TextReward,
    bad_request,
)
from service.dialects.handler import Dialect
from service.dialects.models import DEFAULT_MODEL, reward_of_model
from service.dialects.texts import Turn, chat
from service.http.body import validate

_NIM_WORD = "reward"


class ChatBody(ForeignModel):
    """A chat that ends with the answer to judge; how one would sample is ignored."""

    messages: list[Turn]
    model: Any = None
    stream: bool | None = None
    n: int | None = None


def read_swift(body: Mapping[str, Any], options: DialectOptions) -> ParsedBody:
    """The chat; its reward is the message."""
    return _parsed(body, options, prefix="")


def read_nim(body: Mapping[str, Any], options: DialectOptions) -> ParsedBody:
    """The chat; the message names the reward."""
    return _parsed(body, options, prefix=f"{_NIM_WORD}:")


def _parsed(body: Mapping[str, Any], options: DialectOptions, prefix: str) -> ParsedBody:
    asked = validate(ChatBody, body)
    if asked.stream:
        raise bad_request("/stream", "A number is not streamed; send stream: false.")
    if asked.n not in (None, 1):
        raise bad_request("/n", "A chat has one reward; send n: 1.")
    reward = reward_of_model(asked.model, options)

    def render(text_rewards: Sequence[TextReward]) -> dict[str, Any]:
        (given,) = text_rewards
        tokens = given.num_tokens
        entry = {"token": _NIM_WORD, "logprob": given.reward, "bytes": None, "top_logprobs": []}
        return {
            "id": f"chatcmpl-{options.stamp.reply_id}",
            "object": "chat.completion",
            "created": options.stamp.created,
            "model": reward or DEFAULT_MODEL,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": f"{prefix}{given.reward!r}"},
                    "logprobs": {"content": [entry], "refusal": None} if prefix else None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens},
        }

    return ParsedBody([chat(asked.messages, "/messages")], render, reward)


SWIFT = Dialect(
    name="swift",
    path="/v1/chat/completions",
    summary="ms-swift (swift deploy): the reward as the message",
    body=ChatBody,
    example={
        "model": "rewardd",
        "messages": [
            {"role": "user", "content": "Is 27 prime?"},
            {"role": "assistant", "content": "No: 27 = 3 × 9."},
        ],
    },
    client_timeout=ClientTimeout(600, "openai 3.57: _constants.py"),
    read=read_swift,
)
NIM = replace(
    SWIFT,
    name="nim",
    path="/nim/v1/chat/completions",
    summary="NVIDIA NIM: the reward named in the message",
    read=read_nim,
)
