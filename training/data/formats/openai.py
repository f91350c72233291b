"""OpenAI's comparisons: summaries (Stiennon et al. 2020) and best of four (Ziegler et al. 2019).

Source: github.com/openai/summarize-from-feedback, README (comparisons);
github.com/openai/lm-human-preferences (labels).
"""

from collections.abc import Mapping
from typing import Any

from training.data.formats.fields import list_of, number_of, object_of, whole_of
from training.data.formats.splits import split_named
from training.data.records import PreferenceRecord, text_of
from training.errors import MalformedRow
from training.types import Strength

_STRENGTH_OF_DISTANCE: Mapping[int, Strength] = {
    4: "significantly_better",
    3: "better",
    2: "slightly_better",
    1: "negligibly_better",
}


class SummarizeFormat:
    """{"info": {"post", "title", "subreddit"}, "summaries": [2], "choice", "extra"}."""

    name = "openai-summarize"
    keys = "info, summaries (two), choice (0 or 1), extra.confidence (1 to 9)"

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether two summaries were compared."""
        return {"info", "summaries", "choice"} <= row.keys()

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a record; the prompt is written as the reward model of the paper saw it."""
        summaries = list_of(row, "summaries")
        if len(summaries) != 2:
            raise MalformedRow(f"`summaries` must be two, found {len(summaries)}")
        texts = [text_of(object_of(summary, "summaries"), "text").strip() for summary in summaries]
        choice = whole_of(row, "choice", (0, 1))
        split = row.get("split")
        return PreferenceRecord(
            prompt=_question(object_of(row["info"], "info")),
            responses=(texts[0], texts[1]),
            ranking=(choice, 1 - choice),
            id=id_,
            strength=strength_of_confidence(row.get("extra"), choice),
            split=split_named(split) if isinstance(split, str) else None,
            source=source,
        )


def strength_of_confidence(extra: Any, choice: int) -> Strength | None:
    """The grade that a confidence of 1 to 9 stands for, or None.

    Our reading, as the release does not define the scale: 1 is sure of the first summary, 9 of the
    second, 5 of neither; four grades by the distance from 5. Where the confidence lies on the other
    side than the choice, that reading does not hold, and the pair gets no grade.

    Args:
        extra: the row's `extra`.
        choice: the preferred summary, 0 or 1.

    Raises:
        MalformedRow: a confidence that is no number from 1 to 9.
    """
    if not isinstance(extra, dict) or extra.get("confidence") is None:
        return None
    confidence = number_of(extra, "confidence")
    if not 1 <= confidence <= 9:
        raise MalformedRow("`extra.confidence` must lie between 1 and 9")
    towards_second = round(confidence) - 5
    distance = towards_second if choice == 1 else -towards_second
    return _STRENGTH_OF_DISTANCE.get(distance)


class BestOfFourFormat:
    """{"query", "sample0", …, "best"}: the best of several, the others not compared."""

    name = "lm-human-preferences"
    keys = "query, sample0, sample1, …, best (index)"

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether a best sample was picked."""
        return {"query", "sample0", "sample1", "best"} <= row.keys()

    def parse(self, row: Mapping[str, Any], *, id_: str, source: str) -> PreferenceRecord:
        """The row as a ranking in which all but the best tie."""
        count = next(i for i in range(len(row) + 1) if f"sample{i}" not in row)
        best = whole_of(row, "best", range(count))
        return PreferenceRecord(
            prompt=text_of(row, "query"),
            responses=tuple(text_of(row, f"sample{i}") for i in range(count)),
            ranking=tuple(int(i != best) for i in range(count)),
            id=id_,
            source=source,
        )


def _question(info: Mapping[str, Any]) -> str:
    if info.get("post") is None:
        return f"{text_of(info, 'article')}\n\nTL;DR:"
    parts = []
    if info.get("subreddit") is not None:
        parts.append(f"SUBREDDIT: r/{text_of(info, 'subreddit')}")
    if info.get("title") is not None:
        parts.append(f"TITLE: {text_of(info, 'title')}")
    parts += [f"POST: {text_of(info, 'post')}", "TL;DR:"]
    return "\n\n".join(parts)
