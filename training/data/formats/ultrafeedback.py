"""UltraFeedback: four completions with ratings, and its binarised form.

Source: github.com/OpenBMB/UltraFeedback (arXiv 2310.01377);
huggingface.co/datasets/HuggingFaceH4/ultrafeedback_binarized.
"""

from collections.abc import Mapping
from typing import Any

from training.data.formats.fields import list_of, object_of
from training.data.formats.options import FormatOptions
from training.data.formats.trl import TrlConversationalFormat
from training.data.records import PreferenceRecord, is_number, ranking_from_scores, text_of
from training.errors import MalformedRow, UnusableRow

_ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")


class UltraFeedbackFormat:
    """{"instruction", "completions": [{"response", "overall_score", "annotations"}, …]}."""

    name = "ultrafeedback"
    keys = "instruction, completions (objects with response, overall_score, annotations)"

    def __init__(self, options: FormatOptions | None = None) -> None:
        self._attribute = (options or FormatOptions()).attribute or "overall_score"

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether there is an instruction with completions that carry responses."""
        completions = row.get("completions")
        return (
            "instruction" in row
            and isinstance(completions, list)
            and all(isinstance(c, dict) and "response" in c for c in completions)
        )

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a ranking by one rating: the overall score, or one aspect's."""
        if self._attribute not in (*_ASPECTS, "overall_score", "mean"):
            known = ", ".join((*_ASPECTS, "overall_score", "mean"))
            raise MalformedRow(f"`attribute` must be one of {known}")
        given = [object_of(entry, "completions") for entry in list_of(row, "completions")]
        rated = [(entry, self._rating(entry)) for entry in given]
        kept = [(entry, rating) for entry, rating in rated if rating is not None]
        if not kept:
            raise UnusableRow("not_rated" if given else "no_response")
        ratings = tuple(rating for _, rating in kept)
        return PreferenceRecord(
            prompt=text_of(row, "instruction"),
            responses=tuple(text_of(entry, "response") for entry, _ in kept),
            ranking=ranking_from_scores(ratings),
            id=id_,
            ratings=ratings,
            source=text_of(row, "source") if row.get("source") is not None else source,
        )

    def _rating(self, entry: Mapping[str, Any]) -> float | None:
        if self._attribute == "overall_score":
            score = entry.get("overall_score")
            return float(score) if is_number(score) else None
        aspects = [_aspect(entry, name) for name in _ASPECTS]
        if self._attribute != "mean":
            return aspects[_ASPECTS.index(self._attribute)]
        known = [aspect for aspect in aspects if aspect is not None]
        return sum(known) / len(known) if known else None


class BinarizedFormat:
    """{"prompt", "chosen": chat, "rejected": chat, "score_chosen", "score_rejected"}."""

    name = "ultrafeedback-binarized"
    keys = "prompt, chosen, rejected (lists of messages), score_chosen, score_rejected"

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether both chats carry scores."""
        return {"score_chosen", "score_rejected"} <= row.keys() and (
            TrlConversationalFormat().matches(row)
        )

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a pair whose responses carry their scores; equal scores tie."""
        # `prompt` repeats the first user message of both chats.
        chats = {key: value for key, value in row.items() if key != "prompt"}
        record = TrlConversationalFormat().parse(chats, id_=id_, source=source)
        scores = [row["score_chosen"], row["score_rejected"]]
        if not all(is_number(score) for score in scores):
            raise MalformedRow("`score_chosen` and `score_rejected` must be numbers")
        return PreferenceRecord(
            prompt=record.prompt,
            responses=record.responses,
            ranking=(0, 0) if scores[0] == scores[1] else (0, 1),
            id=id_,
            margin=record.margin,
            ratings=(float(scores[0]), float(scores[1])),
            source=source,
        )


def _aspect(entry: Mapping[str, Any], name: str) -> float | None:
    """An aspect's rating, written as a digit in a string; None for "N/A" and what is absent."""
    annotations = entry.get("annotations")
    annotation = annotations.get(name) if isinstance(annotations, dict) else None
    rating = annotation.get("Rating") if isinstance(annotation, dict) else None
    if is_number(rating):
        return float(rating)
    return float(rating) if isinstance(rating, str) and rating.strip().isdigit() else None
