"""LLaMA-Factory's ranking data: alpaca, sharegpt and openai layouts, KTO tags, and v1 messages.

Source: github.com/hiyouga/LLaMA-Factory, data/README.md. dataset_info.json's `columns` and `tags`
arrive as `FormatOptions`; without them its defaults hold, and openai tags are told by their keys.
"""

from collections.abc import Mapping
from typing import Any

from rm_core.types import Message
from training.data.formats.fields import flag_of, list_of, object_of, pair_record
from training.data.formats.options import FormatOptions
from training.data.formats.trl import TrlConversationalFormat, refuse_template_arguments
from training.data.records import PreferenceRecord, kind_of, text_of
from training.errors import MalformedRow, UnusableRow

_COLUMNS: Mapping[str, str] = {
    "prompt": "instruction",
    "query": "input",
    "response": "output",
    "system": "system",
    "history": "history",
    "messages": "conversations",
    "chosen": "chosen",
    "rejected": "rejected",
    "kto_tag": "kto_tag",
    "tools": "tools",
}
_SHAREGPT_TAGS: Mapping[str, str] = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}
_OPENAI_TAGS: Mapping[str, str] = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "function",
    "system_tag": "system",
}
_ROLES: Mapping[str, str] = {
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "assistant",
    "system_tag": "system",
}


class LlamaFactoryFormat:
    """Alpaca, sharegpt and openai ranking rows, and alpaca rows with a KTO tag."""

    name = "llama-factory"
    keys = (
        "instruction, input, chosen, rejected; or conversations (or messages), chosen, rejected "
        "(objects); or instruction, output, kto_tag"
    )

    def __init__(self, options: FormatOptions | None = None) -> None:
        options = options or FormatOptions()
        self._described = bool(options.columns)
        self._columns = {**_COLUMNS, **options.columns}
        self._tags = options.tags

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether the columns are there; described ones need only their sides."""
        chosen, rejected = (row.get(self._columns[side]) for side in ("chosen", "rejected"))
        if self._columns["kto_tag"] in row and self._columns["response"] in row:
            return True
        if isinstance(chosen, dict) and isinstance(rejected, dict):
            return self._messages_column(row) is not None
        sides_are_texts = isinstance(chosen, str) and isinstance(rejected, str)
        return sides_are_texts and (self._described or self._columns["prompt"] in row)

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a record; `history` and `system` become turns before the question."""
        refuse_template_arguments({"tools": row.get(self._columns["tools"])})
        messages = self._messages_column(row)
        if messages is not None and isinstance(row.get(self._columns["chosen"]), dict):
            return self._shared_chat(row, messages, id_, source)
        prompt = self._alpaca_prompt(row)
        if self._columns["kto_tag"] in row:
            rating = float(flag_of(row, self._columns["kto_tag"]))
            response = text_of(row, self._columns["response"])
            return PreferenceRecord(
                prompt, (response,), (0,), id_, ratings=(rating,), source=source
            )
        chosen = text_of(row, self._columns["chosen"])
        rejected = text_of(row, self._columns["rejected"])
        return pair_record(row, prompt, chosen, rejected, id_, source)

    def _messages_column(self, row: Mapping[str, Any]) -> str | None:
        names = (self._columns["messages"], "messages")
        return next((name for name in names if isinstance(row.get(name), list)), None)

    def _alpaca_prompt(self, row: Mapping[str, Any]) -> str | tuple[Message, ...]:
        columns = self._columns
        parts = [text_of(row, columns[key]) for key in ("prompt", "query") if row.get(columns[key])]
        question = "\n".join(parts)
        turns: list[Message] = []
        if row.get(columns["system"]):
            turns.append(Message("system", text_of(row, columns["system"])))
        for position, exchange in enumerate(row.get(columns["history"]) or ()):
            if not isinstance(exchange, list) or [type(text) for text in exchange] != [str, str]:
                raise MalformedRow(f"`{columns['history']}[{position}]` must be two texts")
            turns += [Message("user", exchange[0]), Message("assistant", exchange[1])]
        return (*turns, Message("user", question)) if turns else question

    def _shared_chat(
        self, row: Mapping[str, Any], column: str, id_: str, source: str
    ) -> PreferenceRecord:
        sides = [object_of(row.get(self._columns[s]), s) for s in ("chosen", "rejected")]
        defaults = _OPENAI_TAGS if "role" in sides[0] else _SHAREGPT_TAGS
        tags = {**defaults, **self._tags}
        turns = [_turn(turn, tags, column) for turn in list_of(row, column)]
        if row.get(self._columns["system"]) and (not turns or turns[0].role != "system"):
            turns.insert(0, Message("system", text_of(row, self._columns["system"])))
        answers = [_turn(side, tags, "chosen and rejected") for side in sides]
        if not turns or turns[-1].role not in {"user", "tool"}:
            raise MalformedRow(f"`{column}` must end with the user's turn")
        if any(answer.role != "assistant" for answer in answers):
            raise MalformedRow("`chosen` and `rejected` must be the assistant's turns")
        return pair_record(row, tuple(turns), answers[0].content, answers[1].content, id_, source)


class LlamaFactoryV1Format:
    """{"chosen_messages", "rejected_messages"}: two whole chats."""

    name = "llama-factory-v1"
    keys = "chosen_messages, rejected_messages (lists of {role, content})"

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether both chats are there."""
        return {"chosen_messages", "rejected_messages"} <= row.keys()

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a record of the chats' last messages."""
        prompt = row.get("prompt_messages")
        chats = {side: list_of(row, f"{side}_messages") for side in ("chosen", "rejected")}
        chosen, rejected = (
            [turn for turn in chat if not _is_empty_system(turn)] for chat in chats.values()
        )
        if not chosen or not rejected:
            raise UnusableRow("no_response")
        renamed = {**row, "chosen": chosen, "rejected": rejected, "prompt": prompt}
        return TrlConversationalFormat().parse(renamed, id_=id_, source=source)


def _is_empty_system(turn: Any) -> bool:
    return isinstance(turn, dict) and turn.get("role") == "system" and not turn.get("content")


def _turn(value: Any, tags: Mapping[str, str], where: str) -> Message:
    turn = object_of(value, where)
    role, content = turn.get(tags["role_tag"]), turn.get(tags["content_tag"])
    known = {tags[tag]: role for tag, role in _ROLES.items()}
    if not isinstance(role, str) or role not in known:
        raise MalformedRow(f"`{where}` holds a turn whose `{tags['role_tag']}` is not a known role")
    if not isinstance(content, str):
        raise MalformedRow(
            f"`{where}` holds a turn whose `{tags['content_tag']}` is {kind_of(content)}"
        )
    return Message(known[role], content)
