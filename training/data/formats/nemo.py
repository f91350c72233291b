"""NVIDIA's two layouts: NeMo-Aligner's lines of text, and NeMo-RL's ranked completions.

Source: github.com/NVIDIA/NeMo-Aligner (reward model and SteerLM regression data),
github.com/NVIDIA-NeMo/RL (preference datasets).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rm_core.types import Message
from training.data.formats.fields import list_of, object_of, pair_record
from training.data.formats.hh_rlhf import HhRlhfFormat
from training.data.formats.options import FormatOptions
from training.data.formats.trl import common_beginning
from training.data.records import (
    PreferenceRecord,
    is_number,
    messages_of,
    ranking_from_scores,
    text_of,
)
from training.errors import MalformedRow, UnusableRow

ATTRIBUTES: tuple[str, ...] = (
    "quality",
    "toxicity",
    "humor",
    "creativity",
    "helpfulness",
    "correctness",
    "coherence",
    "complexity",
    "verbosity",
)
"""What the nine numbers of a SteerLM label are, in order."""

_MASKED = -100
_MARK = re.compile(r"<extra_id_[012]>(System|User|Assistant)?\n?")
_ROLES = {"System": "system", "User": "user", "Assistant": "assistant"}


class NemoPairsFormat:
    """Alternating lines: {"text": chosen dialogue}, then {"text": rejected dialogue}."""

    name = "nemo-aligner"
    keys = "text (chosen and rejected on alternating lines)"

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is a text without a label."""
        return isinstance(row.get("text"), str) and "label" not in row

    def continues(self, before: Mapping[str, Any] | None, row: Mapping[str, Any] | None) -> bool:
        """Whether it belongs to the row before: always, so a broken line spoils its pair only."""
        del before, row
        return True

    most_rows = 2

    def parse_rows(
        self, rows: Sequence[Mapping[str, Any]], *, id_: str, source: str
    ) -> PreferenceRecord:
        """The record of a pair of lines."""
        if len(rows) != 2:
            raise MalformedRow("a chosen line without a rejected line behind it")
        chosen, rejected = (text_of(row, "text") for row in rows)
        transcripts = {"chosen": chosen, "rejected": rejected}
        if HhRlhfFormat().matches(transcripts):
            return HhRlhfFormat().parse(transcripts, id_=id_, source=source)
        if _MARK.match(chosen) and _MARK.match(rejected):
            first, second = dialogue_of(chosen), dialogue_of(rejected)
            if first[:-1] != second[:-1]:
                raise UnusableRow("prompts_differ")
            return pair_record({}, first[:-1], first[-1].content, second[-1].content, id_, source)
        cut = common_beginning(chosen, rejected)
        if not chosen[:cut].strip():
            raise UnusableRow("prompts_differ")
        return pair_record({}, chosen[:cut], chosen[cut:], rejected[cut:], id_, source)

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """One line alone is half a record."""
        return self.parse_rows([row], id_=id_, source=source)


class NemoRegressionFormat:
    """{"text": dialogue, "label": [nine numbers]}: one response with its attributes."""

    name = "nemo-aligner-regression"
    keys = "text, label (list of 9 numbers, -100 for what nobody rated)"

    def __init__(self, options: FormatOptions | None = None) -> None:
        self._attribute = (options or FormatOptions()).attribute or "helpfulness"

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is a text with a list of numbers."""
        return isinstance(row.get("text"), str) and isinstance(row.get("label"), list)

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a record whose response is rated by one attribute."""
        if self._attribute not in ATTRIBUTES:
            raise MalformedRow(f"`attribute` must be one of {', '.join(ATTRIBUTES)}")
        label = list_of(row, "label")
        if len(label) != len(ATTRIBUTES) or not all(is_number(value) for value in label):
            raise MalformedRow(f"`label` must be {len(ATTRIBUTES)} numbers")
        rating = float(label[ATTRIBUTES.index(self._attribute)])
        if rating == _MASKED:
            raise UnusableRow("not_rated")
        turns = dialogue_of(text_of(row, "text"))
        return PreferenceRecord(
            prompt=turns[:-1],
            responses=(turns[-1].content,),
            ranking=(0,),
            id=id_,
            ratings=(rating,),
            source=source,
        )


class NemoRlFormat:
    """{"context": [messages], "completions": [{"rank", "completion": [messages]}, …]}."""

    name = "nemo-rl"
    keys = "context, completions (objects with rank, lower is better, and completion)"

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether there is a context with ranked completions."""
        completions = row.get("completions")
        return (
            "context" in row
            and isinstance(completions, list)
            and all(isinstance(c, dict) and "completion" in c for c in completions)
        )

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a record; ranks may tie and need not be dense."""
        context = row["context"]
        prompt = (
            (Message("user", context),)
            if isinstance(context, str)
            else messages_of(context, "context")
        )
        entries = [object_of(entry, "completions") for entry in list_of(row, "completions")]
        if not entries:
            raise UnusableRow("no_response")
        if not all(is_number(entry.get("rank")) for entry in entries):
            raise MalformedRow("`completions` must each have a number `rank`")
        chats = [messages_of(entry.get("completion"), "completion") for entry in entries]
        if any(not chat or chat[-1].role != "assistant" for chat in chats):
            raise MalformedRow("each `completion` must end with an assistant message")
        if len({chat[:-1] for chat in chats}) > 1:
            raise UnusableRow("prompts_differ")
        return PreferenceRecord(
            prompt=prompt + chats[0][:-1],
            responses=tuple(chat[-1].content for chat in chats),
            ranking=ranking_from_scores([-float(entry["rank"]) for entry in entries]),
            id=id_,
            source=source,
        )


def dialogue_of(text: str) -> tuple[Message, ...]:
    """The turns of a text in NeMo's marks, the last one the assistant's.

    Empty system turns are left out; the attribute line behind `<extra_id_2>` is no turn.
    """
    turns = marked_turns(text)
    if len(turns) < 2 or turns[-1].role != "assistant":
        raise MalformedRow("`text` must end with an <extra_id_1>Assistant turn")
    return turns


def marked_turns(text: str) -> tuple[Message, ...]:
    """The turns of a text in NeMo's marks; what stands before the first mark is the user's."""
    marks = list(_MARK.finditer(text))
    if not marks:
        return (Message("user", text.strip()),) if text.strip() else ()
    opening = text[: marks[0].start()].strip()
    turns = [Message("user", opening)] if opening else []
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        role = _ROLES.get(mark.group(1) or "")
        content = text[mark.end() : following.start() if following else len(text)].strip()
        if role is not None and (content or role == "assistant"):
            turns.append(Message(role, content))
    return tuple(turns)


def marked_prompt(row: Mapping[str, Any]) -> str | tuple[Message, ...]:
    """A row's `prompt`; a dialogue in NeMo's marks becomes messages."""
    text = text_of(row, "prompt")
    turns = marked_turns(text)
    return turns if len(turns) > 1 else text
