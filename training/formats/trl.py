"""TRL's three preference formats: implicit and explicit strings, and conversations.

Source: huggingface.co/docs/trl/dataset_formats (preference), `RewardTrainer`'s `margin` column.
"""

from collections.abc import Mapping
from typing import Any

from rm_core.types import Message
from training.errors import MalformedRow, UnusableRow
from training.records import PreferenceRecord, margin_of, messages_of, text_of


class TrlExplicitFormat:
    """{"prompt", "chosen", "rejected"}, all strings."""

    name = "trl-explicit"
    keys = "prompt, chosen, rejected (strings)"

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether prompt and both sides are strings."""
        return all(isinstance(row.get(key), str) for key in ("prompt", "chosen", "rejected"))

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a record."""
        return _pair(
            row,
            text_of(row, "prompt"),
            text_of(row, "chosen"),
            text_of(row, "rejected"),
            id_,
            source,
        )


class TrlImplicitFormat:
    """{"chosen", "rejected"}, strings that both begin with the prompt."""

    name = "trl-implicit"
    keys = "chosen, rejected (strings that share their beginning)"

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether both sides are strings and no prompt stands apart."""
        return "prompt" not in row and all(
            isinstance(row.get(key), str) for key in ("chosen", "rejected")
        )

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a record; the prompt is the common beginning up to a word's end.

        Raises:
            UnusableRow: nothing in common, so that there is no prompt.
        """
        chosen, rejected = text_of(row, "chosen"), text_of(row, "rejected")
        cut = _common_words(chosen, rejected)
        if not chosen[:cut].strip():
            raise UnusableRow("prompts_differ")
        return _pair(row, chosen[:cut], chosen[cut:], rejected[cut:], id_, source)


class TrlConversationalFormat:
    """Lists of messages: whole chats in both sides, or a prompt and one answer each."""

    name = "trl-conversational"
    keys = "chosen, rejected, optionally prompt (lists of {role, content})"

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether both sides are lists."""
        return all(isinstance(row.get(key), list) for key in ("chosen", "rejected"))

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a record; the last assistant message of each side is what is compared.

        Raises:
            MalformedRow: a side is empty or doesn't end with the assistant.
            UnusableRow: the chats differ before their last message.
        """
        if row.get("tools"):
            raise MalformedRow("rows with `tools` are not supported; render them into messages")
        chosen = _conversation(row, "chosen")
        rejected = _conversation(row, "rejected")
        if chosen[:-1] != rejected[:-1]:
            raise UnusableRow("prompts_differ")
        return _pair(row, chosen[:-1], chosen[-1].content, rejected[-1].content, id_, source)


def _conversation(row: Mapping[str, Any], side: str) -> tuple[Message, ...]:
    """Prompt (where it stands apart) and one side, as one chat."""
    prompt = row.get("prompt")
    before: tuple[Message, ...] = ()
    if isinstance(prompt, str):
        before = (Message(role="user", content=prompt),)
    elif prompt is not None:
        before = messages_of(prompt, "prompt")
    chat = before + messages_of(row[side], side)
    if len(chat) < 2 or chat[-1].role != "assistant":
        raise MalformedRow(f"`{side}` must end with an assistant message that answers something")
    return chat


def _common_words(left: str, right: str) -> int:
    """Length of the common prefix, cut back so that no word is torn apart."""
    length = 0
    for ours, theirs in zip(left, right, strict=False):
        if ours != theirs:
            break
        length += 1
    while 0 < length < max(len(left), len(right)) and not left[length - 1].isspace():
        length -= 1
    return length


def _pair(
    row: Mapping[str, Any],
    prompt: str | tuple[Message, ...],
    chosen: str,
    rejected: str,
    id_: str,
    source: str,
) -> PreferenceRecord:
    return PreferenceRecord(
        prompt=prompt,
        responses=(chosen, rejected),
        ranking=(0, 1),
        id=id_,
        margin=margin_of(row.get("margin")),
        source=source,
    )
