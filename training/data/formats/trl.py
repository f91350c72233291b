"""TRL's preference formats that are more than columns: implicit prompts, and conversations.

Source: huggingface.co/docs/trl/dataset_formats (preference, unpaired preference), `RewardTrainer`'s
`margin` column.
"""

from collections.abc import Mapping
from typing import Any

from rm_core.types import Message
from training.data.formats.fields import pair_record
from training.data.records import PreferenceRecord, messages_of, text_of
from training.errors import MalformedRow, UnusableRow


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
        """The row as a record; the prompt is the common beginning up to a word's end."""
        chosen, rejected = text_of(row, "chosen"), text_of(row, "rejected")
        cut = common_beginning(chosen, rejected)
        if not chosen[:cut].strip():
            raise UnusableRow("prompts_differ")
        return pair_record(row, chosen[:cut], chosen[cut:], rejected[cut:], id_, source)


class TrlConversationalFormat:
    """Lists of messages: whole chats in both sides, or a prompt and one answer each."""

    name = "trl-conversational"
    keys = "chosen, rejected, optionally prompt (lists of {role, content})"

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether both sides are lists."""
        return all(isinstance(row.get(key), list) for key in ("chosen", "rejected"))

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a record; the last assistant message of each side is what is compared."""
        refuse_template_arguments(row)
        chosen = _conversation(row, "chosen")
        rejected = _conversation(row, "rejected")
        if chosen[:-1] != rejected[:-1]:
            raise UnusableRow("prompts_differ")
        return pair_record(row, chosen[:-1], chosen[-1].content, rejected[-1].content, id_, source)


def completion_of(row: Mapping[str, Any]) -> tuple[str]:
    """The one response of an unpaired row: a text, or one assistant message."""
    completion = row["completion"]
    if not isinstance(completion, list):
        return (text_of(row, "completion"),)
    turns = messages_of(completion, "completion")
    if len(turns) != 1 or turns[0].role != "assistant":
        raise MalformedRow("`completion` must be one assistant message")
    return (turns[0].content,)


def refuse_template_arguments(row: Mapping[str, Any]) -> None:
    """Set rows aside that give their chat template more than messages.

    A served request carries messages alone, so a model trained on such rows would never again see
    text like theirs.
    """
    tools = row.get("tools")
    if (tools and tools not in {"[]", "null"} if isinstance(tools, str) else tools) or row.get(
        "chat_template_kwargs"
    ):
        raise UnusableRow("template_arguments")


def _conversation(row: Mapping[str, Any], side: str) -> tuple[Message, ...]:
    """Prompt (where it stands apart) and one side, as one chat."""
    prompt = row.get("prompt")
    before: tuple[Message, ...] = ()
    if isinstance(prompt, str):
        before = (Message(role="user", content=prompt),)
    elif prompt is not None:
        before = messages_of(prompt, "prompt")
    turns = messages_of(row[side], side)
    # Some sets repeat the prompt at the head of both sides.
    repeated = len(turns) > len(before) and turns[: len(before)] == before
    chat = turns if repeated else before + turns
    if len(chat) < 2 or chat[-1].role != "assistant":
        raise MalformedRow(f"`{side}` must end with an assistant message that answers something")
    return chat


def common_beginning(left: str, right: str) -> int:
    """Length of the common prefix of two texts, cut back so that no word is torn apart."""
    length = 0
    for ours, theirs in zip(left, right, strict=False):
        if ours != theirs:
            break
        length += 1
    while 0 < length < max(len(left), len(right)) and not left[length - 1].isspace():
        length -= 1
    return length
