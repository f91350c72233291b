"""Duels of models: Chatbot Arena.

Source: huggingface.co/datasets/lmsys/chatbot_arena_conversations and the Kaggle table of its duels.
"""

import json
from collections.abc import Mapping
from typing import Any

from rm_core.types import Message
from training.data.formats.fields import whole_of
from training.data.records import (
    PreferenceRecord,
    is_number,
    messages_of,
    text_of,
)
from training.errors import MalformedRow, UnusableRow

_WINNERS: Mapping[str, tuple[int, int]] = {
    "model_a": (0, 1),
    "model_b": (1, 0),
    "tie": (0, 0),
    "tie (bothbad)": (0, 0),
}


class ArenaFormat:
    """Duels as conversations with a `winner`, or as a table with `winner_model_a` and so on."""

    name = "arena"
    keys = (
        "conversation_a, conversation_b, winner; or prompt, response_a, response_b, "
        "winner_model_a, winner_model_b, winner_tie"
    )

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether two models met."""
        return {"conversation_a", "conversation_b", "winner"} <= row.keys() or (
            {"prompt", "response_a", "response_b"} <= row.keys()
            and ("winner" in row or "winner_model_a" in row)
        )

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a pair; a duel of several rounds is one only if all but the last are equal."""
        first, second = (self._chat(row, side) for side in ("a", "b"))
        if first[:-1] != second[:-1]:
            raise UnusableRow("prompts_differ")
        return PreferenceRecord(
            prompt=first[:-1],
            responses=(first[-1].content, second[-1].content),
            ranking=_outcome(row),
            id=id_,
            source=source,
        )

    @staticmethod
    def _chat(row: Mapping[str, Any], side: str) -> tuple[Message, ...]:
        if f"conversation_{side}" in row:
            chat = messages_of(row[f"conversation_{side}"], f"conversation_{side}")
        else:
            prompts = _texts(row, "prompt")
            answers = _texts(row, f"response_{side}")
            if len(prompts) != len(answers):
                raise MalformedRow(f"{len(prompts)} `prompt` turns for {len(answers)} answers")
            chat = tuple(
                message
                for question, answer in zip(prompts, answers, strict=True)
                for message in (Message("user", question), Message("assistant", answer))
            )
        if len(chat) < 2 or chat[-1].role != "assistant":
            raise MalformedRow(f"conversation {side} must end with the assistant")
        return chat


def _texts(row: Mapping[str, Any], key: str) -> list[str]:
    """The turns of one side; the Kaggle table writes them as a JSON list in a string."""
    value = row.get(key)
    if isinstance(value, str):
        return _listed(value) or [value]
    if not isinstance(value, list):
        raise MalformedRow(f"`{key}` must be a text or a list of texts")
    return ["" if text is None else str(text) for text in value]


def _listed(text: str) -> list[str] | None:
    """The texts of a JSON list; None where the text is none, or a list of something else."""
    try:
        value = json.loads(text) if text.startswith("[") else None
    except json.JSONDecodeError:
        return None
    if not isinstance(value, list) or not all(x is None or isinstance(x, str) for x in value):
        return None
    return ["" if x is None else x for x in value]


def _outcome(row: Mapping[str, Any]) -> tuple[int, int]:
    if "winner" in row:
        winner = text_of(row, "winner")
        if winner not in _WINNERS:
            raise MalformedRow(f"`winner` must be one of {', '.join(_WINNERS)}")
        return _WINNERS[winner]
    flags = [
        whole_of(row, key, (0, 1)) if is_number(row.get(key)) else 0
        for key in ("winner_model_a", "winner_model_b", "winner_tie")
    ]
    if sum(flags) != 1:
        raise MalformedRow("exactly one of `winner_model_a`, `winner_model_b`, `winner_tie` is 1")
    return ((0, 1), (1, 0), (0, 0))[flags.index(1)]
