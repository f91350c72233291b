r"""Transcripts, "\n\nHuman: …\n\nAssistant: …": HH-RLHF's pairs and red-teaming.

Source: github.com/anthropics/hh-rlhf, README.
"""

import re
from collections.abc import Mapping
from typing import Any

from rm_core.types import Message
from training.data.formats.fields import pair_record, whole_of
from training.data.records import PreferenceRecord, text_of
from training.errors import MalformedRow, UnusableRow

_HUMAN = "\n\nHuman:"
_ASSISTANT = "\n\nAssistant:"
_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant|System):")
_ROLES = {"Human": "user", "Assistant": "assistant", "System": "system"}


class HhRlhfFormat:
    """{"chosen": transcript, "rejected": transcript}."""

    name = "hh-rlhf"
    keys = 'chosen, rejected (transcripts that begin with "\\n\\nHuman:")'

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether both sides are transcripts and no prompt stands apart."""
        sides = (row.get("chosen"), row.get("rejected"))
        return "prompt" not in row and all(
            isinstance(side, str) and side.startswith(_HUMAN) and _ASSISTANT in side
            for side in sides
        )

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a record: everything before the last assistant turn is the prompt."""
        chosen_prompt, chosen = _last_turn(text_of(row, "chosen"))
        rejected_prompt, rejected = _last_turn(text_of(row, "rejected"))
        if chosen_prompt != rejected_prompt:
            raise UnusableRow("prompts_differ")
        return pair_record(row, transcript_messages(chosen_prompt), chosen, rejected, id_, source)


class HhRedTeamFormat:
    """{"transcript", "rating"}: one dialogue, and how far the attack got, 0 (not at all) to 4."""

    name = "hh-red-team"
    keys = "transcript, rating (0 to 4)"

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether there is a transcript and the attacker's rating."""
        return isinstance(row.get("transcript"), str) and "rating" in row

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a record of the last answer, rated 4 − rating: higher is safer."""
        turns = list(transcript_messages(text_of(row, "transcript")))
        rating = whole_of(row, "rating", range(5))
        while turns and turns[-1].role != "assistant":
            turns.pop()  # an attack left without an answer
        if len(turns) < 2:
            raise UnusableRow("no_response")
        return PreferenceRecord(
            prompt=tuple(turns[:-1]),
            responses=(turns[-1].content,),
            ranking=(0,),
            id=id_,
            ratings=(4.0 - rating,),
            is_safety=True,
            source=source,
        )


def has_turn_marks(text: str) -> bool:
    """Whether a prompt is a transcript that waits for the assistant's next turn."""
    return _HUMAN in text and text.rstrip().endswith(_ASSISTANT.strip())


def transcript_or_text(text: str) -> str | tuple[Message, ...]:
    """A prompt: the chat that it writes down as a transcript, or the text itself."""
    return transcript_messages(text) if has_turn_marks(text) else text


def transcript_messages(transcript: str) -> tuple[Message, ...]:
    """Chat messages of a transcript; a trailing empty "Assistant:" is the turn to come, not one."""
    text = transcript.strip()
    marks = list(_TURN.finditer(text))
    if not marks or marks[0].start() != 0:
        raise MalformedRow('a transcript must begin with "Human:", "Assistant:" or "System:"')
    turns = []
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        content = text[mark.end() : following.start() if following else len(text)].strip()
        turns.append(Message(role=_ROLES[mark.group(1)], content=content))
    if turns[-1].role == "assistant" and not turns[-1].content:
        turns.pop()
    return tuple(turns)


def _last_turn(transcript: str) -> tuple[str, str]:
    """A transcript cut at its last assistant mark: (all before, the response)."""
    before, mark, response = transcript.rpartition(_ASSISTANT)
    if not mark:
        raise MalformedRow('a transcript has no "\\n\\nAssistant:" turn')
    return before, response.strip()
