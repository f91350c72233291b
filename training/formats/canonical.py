"""Our own form (`PreferenceRecord.to_json`), and its cousin with `scores` in place of `ranking`."""

import math
from collections.abc import Mapping
from typing import Any, cast, get_args

from rm_core.types import Message
from training.errors import MalformedRow
from training.formats.hh_rlhf import has_turn_marks, transcript_messages
from training.records import (
    PreferenceRecord,
    Split,
    StepLabel,
    Strength,
    margin_of,
    messages_of,
    ranking_from_scores,
    strength_of,
    text_of,
    texts_of,
)

STRENGTH_OF_MARGIN_LABEL: Mapping[str, Strength] = {
    "verified": "significantly_better",
    "unanimous": "better",
    "majority": "slightly_better",
}
"""Our reading of agreement as strength: a checked answer, 3 of 3 and 2 of 3 annotators."""


class CanonicalFormat:
    """{"prompt", "responses", "ranking" | "scores", …}."""

    name = "canonical"
    keys = "prompt, responses, ranking (or scores)"

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether a row has a prompt, responses and their order."""
        return "prompt" in row and "responses" in row and ("ranking" in row or "scores" in row)

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a record; `scores` become ranks inside the row, and agreement a strength."""
        responses = texts_of(row, "responses")
        label = row.get("margin_label")
        strength = strength_of(row.get("strength"))
        if strength is None and len(responses) == 2 and isinstance(label, str):
            strength = STRENGTH_OF_MARGIN_LABEL.get(label)
        return PreferenceRecord(
            prompt=_prompt(row),
            responses=responses,
            ranking=_ranking(row),
            id=_optional_text(row, "id") or id_,
            strength=strength,
            margin=margin_of(row.get("margin")),
            ratings=_ratings(row.get("ratings")),
            steps=_steps(row.get("steps")),
            is_safe=_is_safe(row.get("is_safe")),
            is_safety=_is_safety(row),
            tags=texts_of(row, "tags") if row.get("tags") is not None else (),
            split=_split(row.get("split")),
            source=_optional_text(row, "source") or source,
        )


def _prompt(row: Mapping[str, Any]) -> str | tuple[Message, ...]:
    prompt = row.get("prompt")
    if isinstance(prompt, list):
        return messages_of(prompt, "prompt")
    text = text_of(row, "prompt")
    # A dialogue written as a transcript becomes the chat that a served request would send.
    return transcript_messages(text) if has_turn_marks(text) else text


def _ranking(row: Mapping[str, Any]) -> tuple[int, ...]:
    ranking = row.get("ranking")
    if ranking is not None:
        if not isinstance(ranking, list) or not all(type(rank) is int for rank in ranking):
            raise MalformedRow("`ranking` must be a list of whole numbers, 0 the best")
        return tuple(ranking)
    scores = row.get("scores")
    if not isinstance(scores, list) or not all(
        _is_number(score) and math.isfinite(score) for score in scores
    ):
        raise MalformedRow("`scores` must be a list of finite numbers, higher is better")
    return ranking_from_scores([float(score) for score in scores])


def _is_safe(value: Any) -> tuple[bool | None, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(x is None or isinstance(x, bool) for x in value):
        raise MalformedRow("`is_safe` must be a list of true, false or null, one per response")
    return tuple(value) if any(x is not None for x in value) else None


def _ratings(value: Any) -> tuple[float | None, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(x is None or _is_number(x) for x in value):
        raise MalformedRow("`ratings` must be a list of numbers or null, one per response")
    ratings = tuple(None if x is None else float(x) for x in value)
    return ratings if any(rating is not None for rating in ratings) else None


def _steps(value: Any) -> tuple[tuple[StepLabel, ...], ...] | None:
    if value is None:
        return None
    wanted = "`steps` must hold, for each response, a list of {end, label}"
    if not isinstance(value, list):
        raise MalformedRow(wanted)
    if not all(isinstance(of_response, list) for of_response in value):
        raise MalformedRow(wanted)
    steps = tuple(tuple(_step(step, wanted) for step in of_response) for of_response in value)
    return steps if any(steps) else None


def _step(value: Any, wanted: str) -> StepLabel:
    if (
        not isinstance(value, dict)
        or type(value.get("end")) is not int
        or not _is_number(value.get("label"))
    ):
        raise MalformedRow(wanted)
    return StepLabel(value["end"], float(value["label"]))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_safety(row: Mapping[str, Any]) -> bool:
    value = row.get("is_safety", row.get("kind") == "safety")
    if not isinstance(value, bool):
        raise MalformedRow("`is_safety` must be true or false")
    return value


def _split(value: Any) -> Split | None:
    if value is None:
        return None
    if value in get_args(Split):
        return cast("Split", value)
    raise MalformedRow('`split` must be "train", "heldout" or null')


def _optional_text(row: Mapping[str, Any], key: str) -> str:
    return text_of(row, key) if row.get(key) is not None else ""
