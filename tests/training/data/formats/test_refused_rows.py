"""Rows that are not what their format promises, and rows that hold nothing to use."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.training.data.formats.shapes import BEFORE, SHAPES, parse
from tests.training.data.formats.test_registry import ASK, HH, NEMO, Row, gpt, turn
from training.data.formats import detect_format, format_named
from training.data.formats.fields import flag_of, list_of, number_of, object_of, prompt_of, whole_of
from training.data.formats.nemo import NemoPairsFormat
from training.errors import DataError, MalformedRow, UnusableRow

NO_ANSWER = {"transcript": "\n\nHuman: Why?"}
TOOLS = [{"name": "search"}]
ATTRIBUTED = ("ultrafeedback", "helpsteer2", "nemo-aligner-regression")
ELSEWHERE = {"role": "user", "content": "Another question?"}

MALFORMED: list[tuple[str, Row, str]] = [
    ("unranked single", {"response": 3}, "response"),
    ("unranked", {"responses": "a"}, "responses"),
    ("unranked single", {"prompt": 1}, "prompt"),
    ("openrlhf", {"question": ...}, "question"),
    ("openrlhf", {"question": None}, "question"),
    ("openrlhf", {"good": 1}, "good"),
    ("ultrafeedback-binarized", {"score_chosen": "8"}, "score_chosen"),
    ("pku-saferlhf", {"better_response_id": 2}, "better_response_id"),
    ("pku-saferlhf", {"is_response_0_safe": "no"}, "is_response_0_safe"),
    ("pku-saferlhf", {"response_1": None}, "response_1"),
    ("trl-conversational", {"chosen": [{"role": "user"}], "rejected": []}, "role"),
    ("trl-conversational", {"chosen": [ASK]}, "chosen"),
    ("trl-conversational", {"rejected": [turn("b")]}, "rejected"),
    ("trl-conversational", {"chosen": [ASK, turn("a"), ASK]}, "chosen"),
    (
        "trl-conversational",
        {
            "chosen": [
                ASK,
                {
                    "role": "assistant",
                    "content": [{"type": "image"}, {"type": "text", "text": "a"}],
                },
            ]
        },
        "content",
    ),
    ("trl-explicit", {"margin": "big"}, "margin"),
    ("trl-unpaired", {"label": "good"}, "label"),
    ("trl-unpaired", {"completion": [ASK]}, "completion"),
    ("nectar", {"prompt": f"Well. {BEFORE}"}, "must begin with"),
    ("alpaca-farm", {"preference": 3}, "preference"),
    ("arena texts", {"winner": "nobody"}, "winner"),
    ("arena texts", {"prompt": ["a", "b"]}, "prompt"),
    ("arena texts", {"response_a": 3}, "response_a"),
    ("arena", {"conversation_a": [ASK]}, "conversation a"),
    ("arena table", {"winner_tie": 0}, "winner_tie"),
    *(
        ("helpsteer2-preference", {"preference_strength": strength}, "preference_strength")
        for strength in (4, 0.5, None, "2")
    ),
    ("openai-summarize", {"choice": 2}, "choice"),
    ("openai-summarize", {"summaries": []}, "summaries"),
    ("openai-summarize", {"extra": {"confidence": 12}}, "confidence"),
    ("openai-summarize", {"info": {"title": "no post"}}, "article"),
    ("lm-human-preferences", {"best": 2}, "best"),
    ("trl-stepwise", {"labels": [True, True]}, "labels"),
    ("trl-stepwise", {"labels": ["good"]}, "labels"),
    ("trl-stepwise", {"completions": "A cat"}, "completions"),
    *(("process-steps", {"step_labels": labels}, "step_labels") for labels in ([2], [1, 1], ["x"])),
    ("llama-factory", {"history": [["one"]]}, "history"),
    (
        "llama-factory sharegpt",
        {"conversations": [{"from": "human", "value": "a"}, gpt("b")]},
        "user's turn",
    ),
    ("llama-factory sharegpt", {"conversations": [{"from": "stranger", "value": "a"}]}, "from"),
    ("llama-factory sharegpt", {"conversations": [{"from": "human", "value": 1}]}, "value"),
    ("llama-factory sharegpt", {"chosen": {"from": "human", "value": "a"}}, "assistant's"),
    *(
        ("token-ids", columns, "must")
        for columns in (
            {"chosen_ids": []},
            {"chosen_ids": ["a"]},
            {"chosen_ids": [-1]},
            {"chosen_ids": "1 2"},
            {"chosen_mask": [0] * 8},
            {"chosen_mask": [1]},
        )
    ),
    ("nemo-aligner-regression", {"label": [1, 2]}, "label"),
    ("nemo-aligner-regression", {"label": ["a"] * 9}, "label"),
    ("nemo-aligner-regression", {"text": "no turn"}, "text"),
    ("nemo-rl", {"completions": [{"completion": []}]}, "rank"),
    ("nemo-rl", {"completions": [{"rank": 0, "completion": []}]}, "completion"),
    ("canonical", {"prompt": 3}, "prompt"),
    ("canonical", {"responses": "ab"}, "responses"),
    ("canonical", {"ranking": [0, True]}, "ranking"),
    ("canonical scores", {"scores": [0, float("nan")]}, "scores"),
    ("canonical", {"split": "test"}, "split"),
    ("canonical", {"strength": "much"}, "strength"),
    ("canonical", {"is_safe": [1]}, "is_safe"),
    ("canonical", {"is_safety": 1}, "is_safety"),
]


@pytest.mark.parametrize(("shape", "change", "word"), MALFORMED)
def test_a_broken_row_is_refused_with_a_word_of_what_is_wrong(
    shape: str, change: Row, word: str
) -> None:
    with pytest.raises(MalformedRow, match=word):
        parse(shape, change)


@pytest.mark.parametrize("name", ATTRIBUTED)
def test_an_attribute_that_nobody_rates_is_refused(name: str) -> None:
    with pytest.raises(MalformedRow, match="attribute"):
        parse(name, {}, {"attribute": "wit"})


UNUSABLE: list[tuple[str, Row, str]] = [
    ("hh-rlhf", {"rejected": "\n\nHuman: Hi\n\nAssistant: z"}, "prompts_differ"),
    ("hh-red-team", NO_ANSWER, "no_response"),
    ("trl-implicit", {"chosen": "One thing", "rejected": "Another thing"}, "prompts_differ"),
    ("trl-conversational", {"rejected": [ELSEWHERE, turn("b")]}, "prompts_differ"),
    *(
        ("trl-conversational", extra, "template_arguments")
        for extra in (
            {"tools": TOOLS},
            {"tools": '[{"name": "search"}]'},
            {"chat_template_kwargs": {"enable_thinking": False}},
        )
    ),
    ("ultrafeedback", {"completions": []}, "no_response"),
    ("ultrafeedback", {"completions": [{"response": "a"}]}, "not_rated"),
    ("nectar", {"answers": []}, "no_response"),
    (
        "arena texts",
        {"prompt": ["a", "b"], "response_a": ["one", "two"], "response_b": ["other", "two"]},
        "prompts_differ",
    ),
    ("token-ids", {"chosen_ids": [2, 3], "rejected_ids": [3, 2]}, "prompts_differ"),
    ("process-steps", {"steps": [" "]}, "no_response"),
    ("llama-factory", {"tools": '[{"name": "search"}]'}, "template_arguments"),
    ("llama-factory-v1", {"chosen_messages": [], "rejected_messages": []}, "no_response"),
    ("nemo-aligner-regression", {"label": [-100] * 9}, "not_rated"),
    ("nemo-rl", {"completions": []}, "no_response"),
    (
        "nemo-rl",
        {
            "completions": [
                {"rank": 0, "completion": [turn("a")]},
                {"rank": 1, "completion": [ASK, turn("b")]},
            ]
        },
        "prompts_differ",
    ),
]


@pytest.mark.parametrize(("shape", "change", "reason"), UNUSABLE)
def test_a_row_without_anything_to_compare_is_set_aside(
    shape: str, change: Row, reason: str
) -> None:
    with pytest.raises(UnusableRow, match=reason):
        parse(shape, change)


def test_ids_without_a_tokenizer_are_an_error_that_says_what_to_give() -> None:
    with pytest.raises(DataError, match="--base"):
        format_named("token-ids").parse(SHAPES["token-ids"], id_="", source="")


def test_one_line_of_a_pair_of_lines_is_no_record() -> None:
    with pytest.raises(MalformedRow, match="rejected line"):
        NemoPairsFormat().parse({"text": NEMO}, id_="", source="")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"chosen": "Human: Hi\n\nAssistant: x"}, "trl-implicit"),  # no leading lines
        ({"chosen": "\n\nHuman: Hi"}, "trl-implicit"),
        ({"prompt": "p"}, "trl-explicit"),
        ({"chosen": [turn("a")], "rejected": [turn("b")]}, "trl-conversational"),
        ({"prompt": BEFORE}, "ds-chat"),
        ({"prompt": BEFORE + " \n"}, "ds-chat"),
        ({"prompt": BEFORE + " Because."}, "trl-explicit"),
        ({"prompt": "What does Assistant: mean?"}, "trl-explicit"),
        ({"prompt": "Assistant:"}, "trl-explicit"),
    ],
)
def test_only_whole_transcripts_are_taken_for_transcripts(change: Row, name: str) -> None:
    assert detect_format({"chosen": HH + "a", "rejected": HH + "b", **change}).name == name


@pytest.mark.parametrize("value", [None, "1", True, float("nan"), float("inf"), [1]])
def test_only_finite_numbers_are_numbers(value: Any) -> None:
    with pytest.raises(MalformedRow, match="`x`"):
        number_of({"x": value}, "x")


def test_whole_numbers_may_be_written_as_fractions_and_flags_as_numbers() -> None:
    assert whole_of({"x": 2.0}, "x", range(3)) == 2
    assert [flag_of({"x": value}, "x") for value in (True, 0, 1.0)] == [True, False, True]
    with pytest.raises(MalformedRow, match="0, 1, 2"):
        whole_of({"x": 1.5}, "x", range(3))


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (flag_of, 2),
        (flag_of, "true"),
        (list_of, "a"),
        (lambda row, key: object_of(row[key], key), []),
        (prompt_of, 3),
    ],
)
def test_other_kinds_are_refused_without_their_value(
    read: Callable[[Row, str], Any], value: Any
) -> None:
    with pytest.raises(MalformedRow, match="`x`"):
        read({"x": value}, "x")
