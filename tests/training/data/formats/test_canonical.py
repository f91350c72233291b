"""Our own form: ranks or scores, agreement as strength, transcripts as chats."""

from typing import Any

import pytest

from rm_core.types import Message
from training.data.formats.canonical import CanonicalFormat
from training.data.records import PreferenceRecord
from training.errors import MalformedRow

RANKED = {"prompt": "P", "responses": ["a", "b", "c"], "ranking": [1, 0, 1]}
PAIR = {"prompt": "P", "responses": ["a", "b"], "scores": [1.0, 0.0]}


def parse(row: dict[str, Any]) -> PreferenceRecord:
    assert CanonicalFormat().matches(row)
    return CanonicalFormat().parse(row, id_="f:1", source="f")


def test_a_row_of_ranks_means_its_record() -> None:
    assert parse(RANKED) == PreferenceRecord("P", ("a", "b", "c"), (1, 0, 1), id="f:1", source="f")


def test_a_record_written_as_json_reads_back_equal() -> None:
    record = PreferenceRecord(
        prompt=(Message("user", "Why?"),),
        responses=("a", "b"),
        ranking=(0, 1),
        id="row-7",
        strength="better",
        margin=0.5,
        is_safe=(True, None),
        is_safety=True,
        tags=("science",),
        split="heldout",
        source="elsewhere",
    )

    assert parse(record.to_json()) == record


@pytest.mark.parametrize(
    ("scores", "ranking"),
    [([0.0, 1.0], (1, 0)), ([2.0, 2.0], (0, 0)), ([1, 5, 1], (1, 0, 1)), ([3, 2, 1], (0, 1, 2))],
)
def test_the_higher_score_has_the_better_rank_and_equal_ones_tie(
    scores: list[float], ranking: tuple[int, ...]
) -> None:
    row = {"prompt": "P", "responses": [str(i) for i in range(len(scores))], "scores": scores}

    assert parse(row).ranking == ranking


def test_a_prompt_that_is_a_transcript_becomes_the_chat_that_a_request_would_send() -> None:
    prompt = "System: Be kind.\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Bye\n\nAssistant:"

    assert parse({**PAIR, "prompt": prompt}).prompt == (
        Message("system", "Be kind."),
        Message("user", "Hi"),
        Message("assistant", "Hello"),
        Message("user", "Bye"),
    )


@pytest.mark.parametrize(
    ("label", "strength"),
    [
        ("verified", "significantly_better"),
        ("unanimous", "better"),
        ("majority", "slightly_better"),
        ("tie", None),
    ],
)
def test_agreement_of_annotators_becomes_a_strength(label: str, strength: str | None) -> None:
    assert parse({**PAIR, "margin_label": label}).strength == strength


def test_a_strength_that_is_said_wins_over_agreement_and_agreement_speaks_of_pairs_only() -> None:
    said = {**PAIR, "margin_label": "verified", "strength": "negligibly_better"}

    assert parse(said).strength == "negligibly_better"
    assert parse({**RANKED, "margin_label": "verified"}).strength is None


@pytest.mark.parametrize(
    ("more", "is_safety"),
    [
        ({}, False),
        ({"kind": "safety"}, True),
        ({"kind": "maths"}, False),
        ({"kind": "safety", "is_safety": False}, False),
    ],
)
def test_a_row_is_about_safety_if_it_or_its_kind_says_so(
    more: dict[str, Any], is_safety: bool
) -> None:
    assert parse({**PAIR, **more}).is_safety == is_safety


def test_labels_of_safety_that_nobody_gave_are_none_as_a_whole() -> None:
    assert parse({**PAIR, "is_safe": [None, None]}).is_safe is None
    assert parse({**PAIR, "is_safe": [None, False]}).is_safe == (None, False)


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"prompt": 3, "responses": ["a"], "ranking": [0]}, "prompt"),
        ({"prompt": "p", "responses": "ab", "ranking": [0]}, "responses"),
        ({"prompt": "p", "responses": ["a", "b"], "ranking": [0, True]}, "ranking"),
        ({"prompt": "p", "responses": ["a", "b"], "scores": [0, float("nan")]}, "scores"),
        ({"prompt": "p", "responses": ["a"], "ranking": [0], "split": "test"}, "split"),
        ({"prompt": "p", "responses": ["a"], "ranking": [0], "strength": "much"}, "strength"),
        ({"prompt": "p", "responses": ["a"], "ranking": [0], "is_safe": [1]}, "is_safe"),
        ({"prompt": "p", "responses": ["a"], "ranking": [0], "is_safety": 1}, "is_safety"),
    ],
)
def test_a_broken_row_is_refused_by_the_name_of_its_field(row: dict[str, Any], word: str) -> None:
    with pytest.raises(MalformedRow, match=word):
        parse(row)
