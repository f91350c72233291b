"""Each row is in exactly the format that its keys say."""

from typing import Any

import pytest

from rm_core.types import Message
from tests.architecture.source import ROOT
from training.data.formats import FORMATS, detect_format, format_named
from training.data.records import PreferenceRecord, StepLabel
from training.errors import DataError

HH = "\n\nHuman: Why?\n\nAssistant: "
ASK = {"role": "user", "content": "Why?"}
WHY = (Message("user", "Why?"),)
NEMO = "<extra_id_0>System\n\n<extra_id_1>User\nWhy?\n<extra_id_1>Assistant\nSo.\n<extra_id_2>"
SUMMARIES = {"info": {"post": "P"}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 0}
ARENA = {"winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0}
SIDES = {"chosen": "a", "rejected": "b"}
A = {"responses": ("a",), "ranking": (0,)}
FIRST = {"responses": ("a", "b"), "ranking": (0, 1)}
SECOND = {"responses": ("a", "b"), "ranking": (1, 0)}


def turn(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def gpt(text: str) -> dict[str, str]:
    return {"from": "gpt", "value": text}


PKU = {
    "prompt": "P",
    "response_0": "a",
    "response_1": "b",
    "is_response_0_safe": True,
    "is_response_1_safe": False,
    "better_response_id": 1,
    "safer_response_id": 0,
}
ELSEWHERE = {"openrlhf", "token-ids", "nemo-aligner"}
"""Formats that a row alone doesn't show: they need options, a tokenizer or a second row."""
Row = dict[str, Any]
ROWS: list[tuple[str, Row, Row]] = [
    (
        "canonical",
        {"prompt": "P", "responses": ["a", "b"], "ranking": [1, 0], "margin": 0.5},
        {"prompt": "P", "margin": 0.5, **SECOND},
    ),
    (
        "canonical",
        {
            "prompt": [ASK],
            "responses": ["a", "b"],
            "ranking": [0, 1],
            "strength": "better",
            "margin": 0.5,
            "ratings": [3, None],
            "steps": [[{"end": 1, "label": 0.5}], []],
            "is_safe": [True, None],
            "is_safety": True,
            "tags": ["t"],
            "split": "heldout",
            "token_ids": [[1, 2], [1, 3]],
        },
        {
            "prompt": WHY,
            "strength": "better",
            "margin": 0.5,
            "ratings": (3.0, None),
            "steps": ((StepLabel(1, 0.5),), ()),
            "is_safe": (True, None),
            "is_safety": True,
            "tags": ("t",),
            "split": "heldout",
            "token_ids": ((1, 2), (1, 3)),
            **FIRST,
        },
    ),
    (
        "canonical",
        {"prompt": "P", "responses": ["a", "b"], "scores": [0.0, 1.0]},
        {"prompt": "P", **SECOND},
    ),
    (
        "canonical",
        {"prompt": "P", "responses": ["a"], "scores": [1], "chosen": "a"},
        {"prompt": "P", "ratings": (1.0,), **A},
    ),
    (
        "hh-rlhf",
        {"chosen": HH + "a", "rejected": HH + "b", "margin": 2},
        {"prompt": WHY, "margin": 2, **FIRST},
    ),
    ("trl-explicit", {"prompt": "P", **SIDES, "margin": 2}, {"prompt": "P", "margin": 2, **FIRST}),
    (
        "trl-explicit",
        {"prompt": "P", "chosen": HH + "a", "rejected": HH + "b"},
        {"prompt": "P", "responses": (HH + "a", HH + "b"), "ranking": (0, 1)},
    ),
    (
        "trl-implicit",
        {"chosen": "P a", "rejected": "P b", "margin": 2},
        {"prompt": "P ", "margin": 2, **FIRST},
    ),
    (
        "trl-conversational",
        {"chosen": [ASK, turn("a")], "rejected": [ASK, turn("b")], "margin": 2},
        {"prompt": WHY, "margin": 2, **FIRST},
    ),
    (
        "canonical",
        {"prompt": "P", "responses": ["a", "b"], "ranks": [1, 0]},
        {"prompt": "P", **SECOND},
    ),
    (
        "ds-chat",
        {"prompt": HH.rstrip(), "chosen": " a", "rejected": " b"},
        {"prompt": WHY, **FIRST},
    ),
    (
        "hh-red-team",
        {"transcript": HH + "a", "rating": 1.0, "tags": None},
        {"prompt": WHY, "ratings": (3.0,), "is_safety": True, **A},
    ),
    (
        "trl-unpaired",
        {"prompt": "P", "completion": "a", "label": True},
        {"prompt": "P", "ratings": (1.0,), **A},
    ),
    (
        "trl-stepwise",
        {"prompt": "P", "completions": ["a"], "labels": [True]},
        {"prompt": "P", "steps": ((StepLabel(1, 1.0),),), **A},
    ),
    (
        "process-steps",
        {"prompt": "P", "steps": ["a"], "step_labels": [-1]},
        {"prompt": "P", "steps": ((StepLabel(1, 0.0),),), **A},
    ),
    ("openai-summarize", SUMMARIES, {"prompt": "POST: P\n\nTL;DR:", **FIRST}),
    (
        "lm-human-preferences",
        {"query": "Q", "sample0": "a", "sample1": "b", "best": 1},
        {"prompt": "Q", **SECOND},
    ),
    (
        "nemo-rl",
        {
            "context": [ASK],
            "completions": [
                {"rank": 1, "completion": [turn("a")]},
                {"rank": 0, "completion": [turn("b")]},
            ],
        },
        {"prompt": WHY, **SECOND},
    ),
    (
        "nemo-aligner-regression",
        {"text": NEMO, "label": [*[-100] * 4, 3, *[1] * 4]},
        {"prompt": WHY, "responses": ("So.",), "ranking": (0,), "ratings": (3.0,)},
    ),
    (
        "helpsteer2",
        {"prompt": "P", "response": "a", "helpfulness": 4, "correctness": 3},
        {"prompt": "P", "ratings": (4.0,), **A},
    ),
    (
        "helpsteer2-preference",
        {"prompt": "P", "response_1": "a", "response_2": "b", "preference_strength": -1},
        {"prompt": "P", "strength": "slightly_better", **FIRST},
    ),
    (
        "helpsteer3",
        {"context": [ASK], "response1": "a", "response2": "b", "overall_preference": 3},
        {"prompt": WHY, "strength": "significantly_better", **SECOND},
    ),
    (
        "ultrafeedback",
        {"instruction": "P", "completions": [{"response": "a", "overall_score": 8}]},
        {"prompt": "P", "ratings": (8.0,), **A},
    ),
    (
        "ultrafeedback-binarized",
        {
            "prompt": "Why?",
            "chosen": [ASK, turn("a")],
            "rejected": [ASK, turn("b")],
            "score_chosen": 8.0,
            "score_rejected": 2.0,
        },
        {"prompt": WHY, "ratings": (8.0, 2.0), **FIRST},
    ),
    ("pku-saferlhf", PKU, {"prompt": "P", "is_safe": (True, False), **SECOND}),
    (
        "nectar",
        {
            "prompt": HH.rstrip(),
            "answers": [{"answer": "a", "rank": 2.0}, {"answer": "b", "rank": 1.0}],
        },
        {"prompt": WHY, **SECOND},
    ),
    (
        "alpaca-farm",
        {"instruction": "I", "input": "", "output_1": "a", "output_2": "b", "preference": 2},
        {"prompt": "I", **SECOND},
    ),
    (
        "arena",
        {
            "conversation_a": [ASK, turn("a")],
            "conversation_b": [ASK, turn("b")],
            "winner": "model_a",
        },
        {"prompt": WHY, **FIRST},
    ),
    (
        "arena",
        {"prompt": '["Why?"]', "response_a": '["a"]', "response_b": '["b"]', **ARENA},
        {"prompt": WHY, **SECOND},
    ),
    ("llama-factory", {"instruction": "I", "input": "", **SIDES}, {"prompt": "I", **FIRST}),
    (
        "llama-factory",
        {"instruction": "I", "input": "", "output": "a", "kto_tag": True},
        {"prompt": "I", "ratings": (1.0,), **A},
    ),
    (
        "llama-factory",
        {
            "conversations": [{"from": "human", "value": "Why?"}],
            "chosen": gpt("a"),
            "rejected": gpt("b"),
        },
        {"prompt": WHY, **FIRST},
    ),
    (
        "llama-factory",
        {"messages": [ASK], "chosen": turn("a"), "rejected": turn("b")},
        {"prompt": WHY, **FIRST},
    ),
    (
        "llama-factory-v1",
        {"chosen_messages": [ASK, turn("a")], "rejected_messages": [ASK, turn("b")]},
        {"prompt": WHY, **FIRST},
    ),
    (
        "trl-conversational",
        {"prompt": [ASK], "chosen": [turn("a")], "rejected": [turn("b")]},
        {"prompt": WHY, **FIRST},
    ),
    (
        "trl-conversational",
        {"prompt": "Why?", "chosen": [turn("a")], "rejected": [turn("b")]},
        {"prompt": WHY, **FIRST},
    ),
    (
        "unranked",
        {"prompt": "P", "responses": ["a", "b"]},
        {"prompt": "P", "responses": ("a", "b"), "ranking": (0, 0)},
    ),
    ("unranked", {"prompt": [ASK], "response": "a"}, {"prompt": WHY, **A}),
]


@pytest.mark.parametrize(("name", "row", "expected"), ROWS)
def test_a_row_is_detected_by_its_shape_and_means_exactly_its_record(
    name: str, row: Row, expected: Row
) -> None:
    assert detect_format(row).name == name
    found = detect_format(row).parse(row, id_="f:1", source="f")
    assert found == PreferenceRecord(id="f:1", source="f", **expected)


def test_every_format_is_detected_by_some_row_and_found_by_its_name() -> None:
    assert {name for name, *_ in ROWS} == {layout.name for layout in FORMATS} - ELSEWHERE
    assert all(format_named(layout.name) is layout for layout in FORMATS)


def test_every_format_stands_in_the_documents_table() -> None:
    table = (ROOT / "docs" / "guides" / "data-formats.md").read_text("utf-8")

    assert [layout.name for layout in FORMATS if f"| `{layout.name}` |" not in table] == []


def test_an_unknown_name_is_answered_with_those_that_exist() -> None:
    with pytest.raises(DataError) as refusal:
        format_named("parquet")

    assert all(layout.name in str(refusal.value) for layout in FORMATS)
