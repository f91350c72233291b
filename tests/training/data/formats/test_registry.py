"""Each row is in exactly the format that its keys say."""

from typing import Any

import pytest

from tests.architecture.source import ROOT
from training.data.formats import FORMATS, detect_format, format_named
from training.errors import DataError, MalformedRow

HH = "\n\nHuman: Why?\n\nAssistant: "
CHAT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
GPT = {"from": "gpt", "value": "So."}
NEMO = "<extra_id_0>System\n\n<extra_id_1>User\nWhy?\n<extra_id_1>Assistant\nSo.\n<extra_id_2>"
SUMMARIES = {"info": {"post": "P"}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 0}
ARENA = {"winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0}
PKU = {
    "prompt": "P",
    "response_0": "a",
    "response_1": "b",
    "is_response_0_safe": True,
    "is_response_1_safe": False,
    "better_response_id": 0,
    "safer_response_id": 0,
}
ELSEWHERE = {"openrlhf", "token-ids", "nemo-aligner"}
"""Formats that a row alone doesn't show: they need options, a tokenizer or a second row."""
ROWS: list[tuple[str, dict[str, Any]]] = [
    ("canonical", {"prompt": "P", "responses": ["a", "b"], "ranking": [0, 1]}),
    ("canonical", {"prompt": "P", "responses": ["a", "b"], "scores": [0.0, 1.0]}),
    ("canonical", {"prompt": "P", "responses": ["a"], "scores": [1], "chosen": "a"}),
    ("hh-rlhf", {"chosen": HH + "a", "rejected": HH + "b"}),
    ("trl-explicit", {"prompt": "P", "chosen": "a", "rejected": "b"}),
    ("trl-explicit", {"prompt": "P", "chosen": HH + "a", "rejected": HH + "b"}),
    ("trl-implicit", {"chosen": "P a", "rejected": "P b"}),
    ("trl-conversational", {"chosen": CHAT, "rejected": CHAT}),
    ("canonical", {"prompt": "P", "responses": ["a", "b"], "ranks": [0, 1]}),
    ("ds-chat", {"prompt": HH.rstrip(), "chosen": " a", "rejected": " b"}),
    ("hh-red-team", {"transcript": HH + "a", "rating": 2.0, "tags": None}),
    ("trl-unpaired", {"prompt": "P", "completion": "a", "label": True}),
    ("trl-stepwise", {"prompt": "P", "completions": ["a"], "labels": [True]}),
    ("process-steps", {"prompt": "P", "steps": ["a"], "step_labels": [1]}),
    ("openai-summarize", SUMMARIES),
    ("lm-human-preferences", {"query": "Q", "sample0": "a", "sample1": "b", "best": 1}),
    ("nemo-rl", {"context": CHAT[:1], "completions": [{"rank": 0, "completion": CHAT[1:]}]}),
    ("nemo-aligner-regression", {"text": NEMO, "label": [1] * 9}),
    ("helpsteer2", {"prompt": "P", "response": "a", "helpfulness": 4, "correctness": 4}),
    (
        "helpsteer2-preference",
        {"prompt": "P", "response_1": "a", "response_2": "b", "preference_strength": -1},
    ),
    (
        "helpsteer3",
        {"context": CHAT[:1], "response1": "a", "response2": "b", "overall_preference": 1},
    ),
    ("ultrafeedback", {"instruction": "P", "completions": [{"response": "a", "overall_score": 8}]}),
    (
        "ultrafeedback-binarized",
        {
            "prompt": "Why?",
            "chosen": CHAT,
            "rejected": CHAT,
            "score_chosen": 8.0,
            "score_rejected": 2.0,
        },
    ),
    ("pku-saferlhf", PKU),
    ("nectar", {"prompt": HH.rstrip(), "answers": [{"answer": "a", "rank": 1.0}]}),
    (
        "alpaca-farm",
        {"instruction": "I", "input": "", "output_1": "a", "output_2": "b", "preference": 1},
    ),
    ("arena", {"conversation_a": CHAT, "conversation_b": CHAT, "winner": "model_a"}),
    ("arena", {"prompt": '["P"]', "response_a": '["a"]', "response_b": '["b"]', **ARENA}),
    ("llama-factory", {"instruction": "I", "input": "", "chosen": "a", "rejected": "b"}),
    ("llama-factory", {"instruction": "I", "input": "", "output": "a", "kto_tag": True}),
    (
        "llama-factory",
        {"conversations": [{"from": "human", "value": "P"}], "chosen": GPT, "rejected": GPT},
    ),
    ("llama-factory", {"messages": CHAT[:1], "chosen": CHAT[1], "rejected": CHAT[1]}),
    ("llama-factory-v1", {"chosen_messages": CHAT, "rejected_messages": CHAT}),
    ("trl-conversational", {"prompt": CHAT[:1], "chosen": CHAT[1:], "rejected": CHAT[1:]}),
    ("trl-conversational", {"prompt": "P", "chosen": CHAT[1:], "rejected": CHAT[1:]}),
    ("unranked", {"prompt": "P", "responses": ["a", "b"]}),
    ("unranked", {"prompt": CHAT[:1], "response": "a"}),
]


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_a_row_is_detected_by_its_shape(name: str, row: dict[str, Any]) -> None:
    assert detect_format(row).name == name
    detect_format(row).parse(row, id_="f:1", source="f")


def test_every_format_is_detected_by_some_row_and_found_by_its_name() -> None:
    assert {name for name, _ in ROWS} == {layout.name for layout in FORMATS} - ELSEWHERE
    assert all(format_named(layout.name) is layout for layout in FORMATS)


def test_every_format_stands_in_the_documents_table() -> None:
    table = (ROOT / "docs" / "data-formats.md").read_text("utf-8")

    assert [layout.name for layout in FORMATS if f"| `{layout.name}` |" not in table] == []


def test_an_unknown_row_is_answered_with_what_would_be_understood() -> None:
    with pytest.raises(MalformedRow) as refusal:
        detect_format({"question": "secret text"})

    assert all(layout.name in str(refusal.value) for layout in FORMATS)
    assert "secret text" not in str(refusal.value)


def test_an_unknown_name_is_answered_with_those_that_exist() -> None:
    with pytest.raises(DataError) as refusal:
        format_named("parquet")

    assert all(layout.name in str(refusal.value) for layout in FORMATS)
