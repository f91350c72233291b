"""OpenAI's comparisons of summaries, and best of four."""

from pathlib import Path
from typing import Any

import pytest

from tests.training.data.formats.golden import read_rows, record
from training.data.formats import format_named
from training.data.formats.openai import strength_of_confidence
from training.errors import MalformedRow

ROW: dict[str, Any] = {
    "info": {"id": "t3_x", "post": "My cat sat on it.", "title": "Hat", "subreddit": "cats"},
    "summaries": [
        {"text": " cat sat", "policy": "sup", "note": None},
        {"text": " a hat is lost to a cat", "policy": "ref", "note": "?"},
    ],
    "choice": 1,
    "worker": "w",
    "batch": "b",
    "split": "valid2",
    "extra": {"confidence": 8},
}
PROMPT = "SUBREDDIT: r/cats\n\nTITLE: Hat\n\nPOST: My cat sat on it.\n\nTL;DR:"


def test_a_comparison_of_summaries_with_its_confidence_as_grade(tmp_path: Path) -> None:
    assert read_rows(tmp_path, [ROW]).records == (
        record(
            1,
            prompt=PROMPT,
            responses=("cat sat", "a hat is lost to a cat"),
            ranking=(1, 0),
            strength="better",
            split="heldout",
        ),
    )


def test_an_article_stands_without_subreddit(tmp_path: Path) -> None:
    row = {**ROW, "info": {"article": "Rain fell."}, "choice": 0, "extra": {}, "split": "train"}

    assert read_rows(tmp_path, [row]).records == (
        record(
            1,
            prompt="Rain fell.\n\nTL;DR:",
            responses=("cat sat", "a hat is lost to a cat"),
            ranking=(0, 1),
            split="train",
        ),
    )


@pytest.mark.parametrize(
    ("confidence", "choice", "strength"),
    [
        (9, 1, "significantly_better"),
        (8, 1, "better"),
        (7, 1, "slightly_better"),
        (6, 1, "negligibly_better"),
        (5, 1, None),
        (1, 0, "significantly_better"),
        (4, 0, "negligibly_better"),
        (9, 0, None),
        (1, 1, None),
    ],
)
def test_the_grade_is_the_distance_from_the_middle_on_the_side_of_the_choice(
    confidence: int, choice: int, strength: str | None
) -> None:
    assert strength_of_confidence({"confidence": confidence}, choice) == strength


@pytest.mark.parametrize(
    "change",
    [
        {"choice": 2},
        {"summaries": []},
        {"extra": {"confidence": 12}},
        {"info": {"title": "no post"}},
    ],
)
def test_a_broken_comparison_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedRow):
        format_named("openai-summarize").parse({**ROW, **change}, id_="", source="")


def test_the_best_of_four_beats_three_that_tie(tmp_path: Path) -> None:
    row = {"query": "Go on:", "sample0": "a", "sample1": "b", "sample2": "c", "sample3": "d"}

    assert read_rows(tmp_path, [{**row, "best": 2}]).records == (
        record(1, prompt="Go on:", responses=("a", "b", "c", "d"), ranking=(1, 1, 0, 1)),
    )


def test_a_best_that_is_no_sample_is_refused() -> None:
    with pytest.raises(MalformedRow, match="best"):
        format_named("lm-human-preferences").parse(
            {"query": "q", "sample0": "a", "sample1": "b", "best": 2}, id_="", source=""
        )
