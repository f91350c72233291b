"""The canonical preference record: one prompt, its responses, and how people ranked them.

Every format of `training.data.formats` is parsed into this; everything after reading sees only
this. The JSON form has exactly the dataclass's field names as keys. Whatever reads a value here
raises `MalformedRow` where it is of another kind.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard, cast

from rm_core.types import Message
from training.data.rows.row import absence
from training.errors import MalformedRow
from training.types import STRENGTHS, Split, Strength

_FLOAT_BITS = sys.float_info.max_exp - 1
"""Whole numbers of so many bits never overflow a float; JSON knows longer ones."""


@dataclass(frozen=True, slots=True)
class StepLabel:
    """How good one step of a response is.

    Attributes:
        end: characters of the response up to and with the step's last one.
        label: 1 good, 0 bad; what lies between is a rater's doubt.
    """

    end: int
    label: float


@dataclass(frozen=True, slots=True)
class PreferenceRecord:
    """Responses to one prompt, their order, and what else was said of each.

    Attributes:
        prompt: what was asked: a text, or the chat messages before the response.
        responses: candidate answers, at least one.
        ranking: rank of each response, 0 is best; equal ranks are ties.
        id: names the record in reports; unique in its file.
        strength: by how much the better response of a two-response record is better.
        margin: explicit margin of a two-response record in reward units; overrides `strength`.
        ratings: how good each response is by itself, higher is better, None where nobody said;
            comparable between records of one source. None as a whole when no response is rated.
        steps: labelled steps of each response in order, empty where nobody scored them; None as a
            whole when no response has any.
        is_safe: whether each response is safe; None where nobody said; None as a whole when no
            response is labelled.
        is_safety: whether the prompt asks for something that could do harm.
        tags: free labels of the prompt.
        split: the side that the data's author put it on; None: split by prompt hash.
        source: where the record comes from.
        token_ids: whole texts as token ids of the base's tokenizer, one per response, where the
            data came so; they are read exactly as they stand, and `prompt` and `responses` are
            their text for people, baselines and duplicates. None: the texts are tokenised.
    """

    prompt: str | tuple[Message, ...]
    responses: tuple[str, ...]
    ranking: tuple[int, ...]
    id: str
    strength: Strength | None = None
    margin: float | None = None
    ratings: tuple[float | None, ...] | None = None
    steps: tuple[tuple[StepLabel, ...], ...] | None = None
    is_safe: tuple[bool | None, ...] | None = None
    is_safety: bool = False
    tags: tuple[str, ...] = ()
    split: Split | None = None
    source: str = ""
    token_ids: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        """Check what a type annotation can't."""
        if not self.responses:
            raise MalformedRow("`responses` is empty; a record needs at least one")
        if len(self.ranking) != len(self.responses):
            raise MalformedRow(
                f"`ranking` has {len(self.ranking)} entries for {len(self.responses)} responses"
            )
        if min(self.ranking) < 0:
            raise MalformedRow("`ranking` holds a negative rank; 0 is best")
        for name in ("is_safe", "ratings", "steps", "token_ids"):
            given = getattr(self, name)
            if given is not None and len(given) != len(self.responses):
                raise MalformedRow(
                    f"`{name}` has {len(given)} entries for {len(self.responses)} responses"
                )
        if any(rating is not None and not math.isfinite(rating) for rating in self.ratings or ()):
            raise MalformedRow("`ratings` must be finite numbers, or null")
        for response, steps in zip(self.responses, self.steps or (), strict=False):
            _check_steps(response, steps)
        if self.margin is not None and not (math.isfinite(self.margin) and self.margin >= 0):
            raise MalformedRow("`margin` must be a finite number >= 0")
        if len(self.responses) > 2 and self.margin is not None:
            raise MalformedRow("`margin` speaks of one pair, and this record has more responses")

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values, all keys present."""
        prompt: Any = self.prompt
        if not isinstance(prompt, str):
            prompt = [{"role": turn.role, "content": turn.content} for turn in prompt]
        return {
            "prompt": prompt,
            "responses": list(self.responses),
            "ranking": list(self.ranking),
            "strength": self.strength,
            "margin": self.margin,
            "ratings": None if self.ratings is None else list(self.ratings),
            "steps": None
            if self.steps is None
            else [[{"end": s.end, "label": s.label} for s in steps] for steps in self.steps],
            "is_safe": None if self.is_safe is None else list(self.is_safe),
            "is_safety": self.is_safety,
            "tags": list(self.tags),
            "split": self.split,
            "source": self.source,
            "id": self.id,
            "token_ids": None if self.token_ids is None else [list(t) for t in self.token_ids],
        }


def text_of(row: Mapping[str, Any], key: str) -> str:
    """A required string of a row."""
    value = row.get(key)
    if not isinstance(value, str):
        raise wrong_kind(row, key, "a string")
    return value


def wrong_kind(row: Mapping[str, Any], key: str, wanted: str) -> MalformedRow:
    """The error of a row that holds nothing at a key, or not what it should, without the value."""
    value = row.get(key)
    if value is None:
        return MalformedRow(absence(row, key))
    return MalformedRow(f"`{key}` must be {wanted}, found {kind_of(value)}")


def messages_of(value: Any, key: str) -> tuple[Message, ...]:
    """Chat messages from their JSON form, [{"role", "content"}, …]."""
    if not isinstance(value, list):
        raise MalformedRow(f"`{key}` must be a list of messages, found {kind_of(value)}")
    turns = []
    for position, turn in enumerate(value):
        role = turn.get("role") if isinstance(turn, dict) else None
        content = _content(turn.get("content")) if isinstance(turn, dict) else None
        if not isinstance(role, str) or content is None:
            raise MalformedRow(f"`{key}[{position}]` must have string `role` and `content`")
        turns.append(Message(role=role, content=content))
    return tuple(turns)


def _content(value: Any) -> str | None:
    """A turn's text, also where it is written as parts; None where it is, or holds, no text."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        return None
    # TRL calls a part's text "text", LLaMA-Factory v1 "value".
    texts = [
        part.get("text", part.get("value"))
        for part in value
        if isinstance(part, dict) and part.get("type") == "text"
    ]
    known = [text for text in texts if isinstance(text, str)]
    return "".join(known) if len(known) == len(value) else None


def texts_of(row: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A required list of strings of a row."""
    value = row.get(key)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise wrong_kind(row, key, "a list of strings")
    return tuple(value)


def strength_of(value: Any) -> Strength | None:
    """A strength grade, or None where the row has none."""
    if value is None:
        return None
    if value not in STRENGTHS:
        raise MalformedRow(f"`strength` must be one of {', '.join(STRENGTHS)}, or null")
    return cast("Strength", value)


def margin_of(value: Any) -> float | None:
    """An explicit margin in reward units, or None where the row has none."""
    if value is None:
        return None
    if not is_number(value):
        raise MalformedRow(f"`margin` must be a number, found {kind_of(value)}")
    return float(value)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a JSON value is a number that a float can hold; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or value.bit_length() <= _FLOAT_BITS


def ranking_from_scores(scores: Sequence[float]) -> tuple[int, ...]:
    """Dense ranks from scores where higher is better: the best gets 0, equal scores tie.

    Args:
        scores: one per response, comparable with each other only.
    """
    order = sorted(set(scores), reverse=True)
    ranks = {score: rank for rank, score in enumerate(order)}
    return tuple(ranks[score] for score in scores)


def _check_steps(response: str, steps: Sequence[StepLabel]) -> None:
    begin = 0
    for step in steps:
        if not begin < step.end <= len(response):
            raise MalformedRow("`steps` must end one after the other inside their response")
        if not 0 <= step.label <= 1:
            raise MalformedRow("`steps` labels must lie between 0 (bad) and 1 (good)")
        begin = step.end


def kind_of(value: Any) -> str:
    """The JSON name of a value's type, for messages that must not echo the value."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string"}
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")
