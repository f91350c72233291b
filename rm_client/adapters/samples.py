"""A trainer's sample as an item of /score, and a batch of them from the question to the answer.

As tolerant as the server's own dialects: a response may be empty, too long (its left is cut), in
parts or without content, and a run with tool calls is judged on its final text.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from rm_client.adapters.environment import shared_async_client, shared_client
from rm_client.config import ClientConfig
from rm_client.errors import InvalidRequest
from rm_client.models import ErrorReply, FailedReply, ScoreResult, Truncation
from rm_client.turns import ContentPart, Turn
from rm_client.wire import score_items

Result = TypeVar("Result")

Item = dict[str, Any]
Entry = Item | FailedReply
"""What can be sent, or why it can't: one sample that can't be sent must not fail its neighbours."""

TRUNCATE: Truncation = "left"

_BESIDE_TEXT = tuple(Turn.model_fields.keys() - {"role", "content"})
"""What a chat template may read of a turn beside its role and text, calls of tools for one."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a trainer's texts are read.

    Attributes:
        rendered: whether a prompt that is a text has been through a chat template already.
        stop: the policy's own stop tokens, which may end a response.
    """

    rendered: bool = False
    stop: tuple[str, ...] = ()


def entry_of(prompt: Any, completion: Any, reading: Reading, *, is_safety: object = False) -> Entry:
    """One sample as an item.

    Args:
        prompt: a text, or the chat before the completion: mappings with role and content, in a
            list, a tuple or an array.
        completion: a text, or the turns that the policy added, tools' answers among them.
        reading: how texts are read.
        is_safety: the caller's tag of the prompt, of any type.
    """
    try:
        item = _text(prompt, completion, reading)
        item["allow_empty"] = True
        if is_safety:
            item["is_safety"] = True
        score_items([item])
    except InvalidRequest as error:
        return FailedReply(error=ErrorReply(code="invalid_sample", detail=str(error), pointer=""))
    return item


def sendable(entries: Iterable[Entry]) -> list[Item]:
    """Those that can be sent."""
    return [entry for entry in entries if not isinstance(entry, FailedReply)]


def merged(entries: Sequence[Entry], results: Iterable[Result]) -> list[Result | FailedReply]:
    """One result per entry: what came back for those that were sent, in order."""
    answers = iter(results)
    return [entry if isinstance(entry, FailedReply) else next(answers) for entry in entries]


def score(
    config: ClientConfig,
    entries: Sequence[Entry],
    reading: Reading,
    *,
    within_seconds: float | None = None,
) -> list[ScoreResult]:
    """The results of a batch, one per entry, in `within_seconds` or the policy's own time."""
    items = sendable(entries)
    answers: Sequence[ScoreResult] = ()
    if items:
        client = shared_client(config)
        if within_seconds is not None:
            client = client.within(within_seconds)
        answers = client.score(items, truncate=TRUNCATE, stop=reading.stop).items
    return merged(entries, answers)


async def score_async(
    config: ClientConfig, entries: Sequence[Entry], reading: Reading
) -> list[ScoreResult]:
    """As `score`, for event loops."""
    items = sendable(entries)
    answers: Sequence[ScoreResult] = ()
    if items:
        client = shared_async_client(config)
        answers = (await client.score(items, truncate=TRUNCATE, stop=reading.stop)).items
    return merged(entries, answers)


def turns_of(messages: Iterable[Any]) -> list[dict[str, Any]]:
    """A chat's turns as the wire has them: what it doesn't know of them is left out.

    Raises:
        InvalidRequest: a turn has no role, or is none, or holds a part without text (an image):
            the reward of what is left would be another text's.
    """
    turns = []
    for turn in messages:
        if not isinstance(turn, Mapping) or not isinstance(turn.get("role"), str):
            raise InvalidRequest("a chat's turns are mappings with a role and content")
        more = {name: _plain(turn[name]) for name in _BESIDE_TEXT if turn.get(name) is not None}
        content: str | None = text_of(turn.get("content"))
        if more and turn.get("content") is None:
            content = None  # a template may tell it from an empty text
        turns.append({"role": turn["role"], "content": content, **more})
    return turns


def text_of(content: Any) -> str:
    """All text of a message's content, end to end.

    Raises:
        InvalidRequest: it is neither a text, nor parts with text, nor None.
    """
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, Mapping) or not isinstance(content, Iterable):
        raise InvalidRequest("a turn's content is a text or a list of parts")
    return "".join(map(_text_of_part, content))


def _text_of_part(part: Any) -> str:
    if isinstance(part, str):
        return part
    try:
        # Tables have every column in every part; None says that it isn't there.
        found = {name: value for name, value in dict(part).items() if value is not None}
        return ContentPart.model_validate(found).text
    except (TypeError, ValueError) as error:  # pydantic's own is a ValueError
        told = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "no mapping"
        raise InvalidRequest(f"a part of a turn's content can't be read: {told}") from None


def _plain(value: Any) -> Any:
    """A value of a table's cell as JSON has it: mappings and lists."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items() if each is not None}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return value


def _text(prompt: Any, completion: Any, reading: Reading) -> Item:
    given = prompt if isinstance(prompt, str) else turns_of(prompt)
    rendered = reading.rendered and isinstance(given, str)
    if completion is None or isinstance(completion, str):
        response = completion or ""
    else:
        answer = turns_of(completion)
        if not answer or answer[-1]["role"] != "assistant":
            raise InvalidRequest("a completion must end with the assistant's turn, to be judged")
        response = answer[-1]["content"] or ""
        if len(answer) > 1 or not answer[-1].keys() <= {"role", "content"}:
            if rendered:
                raise InvalidRequest("several turns can't follow a rendered prompt; send messages")
            before = [{"role": "user", "content": given}] if isinstance(given, str) else given
            return {"messages": [*before, *answer]}
    item: Item = {"prompt": given, "response": response}
    return {**item, "rendered": True} if rendered else item
