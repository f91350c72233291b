"""Our own form (`PreferenceRecord.to_json`), and its cousin with `scores` in place of `ranking`."""

import math
from collections.abc import Mapping
from typing import Any, cast, get_args

from rm_core.types import Message
from training.data.formats.fields import list_of
from training.data.formats.hh_rlhf import transcript_or_text
from training.data.records import (
    PreferenceRecord,
    StepLabel,
    is_number,
    margin_of,
    messages_of,
    ranking_from_scores,
    strength_of,
    text_of,
    texts_of,
)
from training.errors import MalformedRow, UnusableRow
from training.types import Split, Strength

STRENGTH_OF_MARGIN_LABEL: Mapping[str, Strength] = {
    "verified": "significantly_better",
    "unanimous": "better",
    "majority": "slightly_better",
}
"""Our reading of agreement as strength: a checked answer, 3 of 3 and 2 of 3 annotators."""

ORDERS = ("ranking", "ranks", "scores")
"""Keys by which a row orders its responses."""


class CanonicalFormat:
    """{"prompt", "responses", "ranking" | "scores", …}."""

    name = "canonical"
    keys = "prompt, responses, ranking (or ranks, or scores)"

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether a row has a prompt, responses and their order."""
        return {"prompt", "responses"} <= row.keys() and not row.keys().isdisjoint(ORDERS)

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a record; `scores` become ranks inside the row, and agreement a strength.

        The score of a response that stands alone says nothing inside the row, so it is its rating;
        a `label` "safe" or "unsafe" of such a row in safety data is the response's.
        """
        responses = texts_of(row, "responses")
        if not responses:
            raise UnusableRow("no_response")
        alone = len(responses) == 1
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
            ratings=_ratings(row.get("scores" if alone and "ratings" not in row else "ratings")),
            steps=_steps(row.get("steps")),
            is_safe=_is_safe(_label(row) if alone and "is_safe" not in row else row.get("is_safe")),
            is_safety=_is_safety(row),
            tags=texts_of(row, "tags") if row.get("tags") is not None else (),
            split=_split(row.get("split")),
            source=_optional_text(row, "source") or source,
            token_ids=token_ids_of(row),
        )


def token_ids_of(row: Mapping[str, Any]) -> tuple[tuple[int, ...], ...] | None:
    """The row's `token_ids`, one list per response, or None."""
    if row.get("token_ids") is None:
        return None
    given = list_of(row, "token_ids")
    if not all(isinstance(ids, list) and all(type(i) is int for i in ids) for ids in given):
        raise MalformedRow("`token_ids` must be lists of whole numbers, one per response")
    return tuple(tuple(ids) for ids in given)


def _label(row: Mapping[str, Any]) -> list[bool] | None:
    known = {"safe": True, "unsafe": False}
    label = row.get("label")
    if row.get("kind") != "safety" or not isinstance(label, str) or label not in known:
        return None
    return [known[label]]


def _prompt(row: Mapping[str, Any]) -> str | tuple[Message, ...]:
    prompt = row.get("prompt")
    if isinstance(prompt, list):
        return messages_of(prompt, "prompt")
    # A dialogue written as a transcript becomes the chat that a served request would send.
    return transcript_or_text(text_of(row, "prompt"))


def _ranking(row: Mapping[str, Any]) -> tuple[int, ...]:
    ranking = row.get("ranking", row.get("ranks"))
    if ranking is not None:
        if not isinstance(ranking, list) or not all(type(rank) is int for rank in ranking):
            raise MalformedRow("`ranking` must be a list of whole numbers, 0 the best")
        return tuple(ranking)
    scores = row.get("scores")
    if not isinstance(scores, list) or not all(
        is_number(score) and math.isfinite(score) for score in scores
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
    if not isinstance(value, list) or not all(x is None or is_number(x) for x in value):
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
        or not is_number(value.get("label"))
    ):
        raise MalformedRow(wanted)
    return StepLabel(value["end"], float(value["label"]))


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
