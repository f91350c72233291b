"""OpenAI's comparisons of summaries: what a row says beside who won (Stiennon et al. 2020).

Source: github.com/openai/summarize-from-feedback, README (comparisons).
"""

from collections.abc import Mapping
from typing import Any

from training.data.formats.fields import list_of, number_of, object_of
from training.data.records import text_of
from training.errors import MalformedRow
from training.types import Strength

_STRENGTH_OF_DISTANCE: Mapping[int, Strength] = {
    4: "significantly_better",
    3: "better",
    2: "slightly_better",
    1: "negligibly_better",
}


def summary_texts(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The two summaries of a row."""
    summaries = list_of(row, "summaries")
    if len(summaries) != 2:
        raise MalformedRow(f"`summaries` must be two, found {len(summaries)}")
    return tuple(text_of(object_of(summary, "summaries"), "text").strip() for summary in summaries)


def strength_of_confidence(extra: Any, choice: int) -> Strength | None:
    """The grade that a confidence of 1 to 9 stands for, or None.

    Our reading, as the release does not define the scale: 1 is sure of the first summary, 9 of the
    second, 5 of neither; four grades by the distance from 5. Where the confidence lies on the other
    side than the choice, that reading does not hold, and the pair gets no grade.
    """
    if not isinstance(extra, dict) or extra.get("confidence") is None:
        return None
    confidence = number_of(extra, "confidence")
    if not 1 <= confidence <= 9:
        raise MalformedRow("`extra.confidence` must lie between 1 and 9")
    towards_second = round(confidence) - 5
    distance = towards_second if choice == 1 else -towards_second
    return _STRENGTH_OF_DISTANCE.get(distance)


def summary_prompt(row: Mapping[str, Any]) -> str:
    """What was to be summarised, written as the reward model of the paper saw it."""
    info = object_of(row["info"], "info")
    if info.get("post") is None:
        return f"{text_of(info, 'article')}\n\nTL;DR:"
    parts = []
    if info.get("subreddit") is not None:
        parts.append(f"SUBREDDIT: r/{text_of(info, 'subreddit')}")
    if info.get("title") is not None:
        parts.append(f"TITLE: {text_of(info, 'title')}")
    parts += [f"POST: {text_of(info, 'post')}", "TL;DR:"]
    return "\n\n".join(parts)
