"""Golden rows of every format: what lies on disk, and the record that it means."""

from typing import Any

import pytest

from rm_core.types import Message
from training.errors import MalformedRow, UnusableRow
from training.formats import FORMATS, detect_format, format_named

USER, ANSWER = Message("user", "Why is the sky blue?"), "Rayleigh scattering."

GOLDEN: list[tuple[str, dict[str, Any], Any, tuple[str, ...], tuple[int, ...]]] = [
    (
        "canonical",
        {"prompt": "P", "responses": ["a", "b", "c"], "ranking": [1, 0, 1]},
        "P",
        ("a", "b", "c"),
        (1, 0, 1),
    ),
    (
        "canonical",
        {"prompt": "P", "responses": ["a", "b"], "scores": [0.0, 1.0], "kind": "safety"},
        "P",
        ("a", "b"),
        (1, 0),
    ),
    (
        "canonical",
        {
            "prompt": (
                "System: Be kind.\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Bye\n\nAssistant:"
            ),
            "responses": ["a", "b"],
            "ranking": [0, 1],
        },
        (
            Message("system", "Be kind."),
            Message("user", "Hi"),
            Message("assistant", "Hello"),
            Message("user", "Bye"),
        ),
        ("a", "b"),
        (0, 1),
    ),
    (
        "hh-rlhf",
        {
            "chosen": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant: Because.",
            "rejected": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant: No",
        },
        (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Why?")),
        ("Because.", "No"),
        (0, 1),
    ),
    (
        "trl-explicit",
        {"prompt": "The sky is", "chosen": " blue.", "rejected": " green.", "margin": 0.5},
        "The sky is",
        (" blue.", " green."),
        (0, 1),
    ),
    (
        "trl-implicit",
        {"chosen": "The sky is blue.", "rejected": "The sky is black."},
        "The sky is ",
        ("blue.", "black."),
        (0, 1),
    ),
    (
        "trl-conversational",
        {
            "chosen": [
                {"role": "user", "content": USER.content},
                {"role": "assistant", "content": ANSWER},
            ],
            "rejected": [
                {"role": "user", "content": USER.content},
                {"role": "assistant", "content": "It is not."},
            ],
        },
        (USER,),
        (ANSWER, "It is not."),
        (0, 1),
    ),
    (
        "trl-conversational",
        {
            "prompt": [{"role": "user", "content": USER.content}],
            "chosen": [{"role": "assistant", "content": ANSWER}],
            "rejected": [{"role": "assistant", "content": "It is not."}],
            "margin": 2,
        },
        (USER,),
        (ANSWER, "It is not."),
        (0, 1),
    ),
]


@pytest.mark.parametrize(("name", "row", "prompt", "responses", "ranking"), GOLDEN)
def test_a_row_is_detected_and_means_its_record(
    name: str,
    row: dict[str, Any],
    prompt: Any,
    responses: tuple[str, ...],
    ranking: tuple[int, ...],
) -> None:
    layout = detect_format(row)
    assert layout.name == name
    record = layout.parse(row, id_="f:1", source="f")
    assert (record.prompt, record.responses, record.ranking) == (prompt, responses, ranking)
    assert record.margin == row.get("margin")
    assert (record.id, record.source) == ("f:1", "f")
    assert record.is_safety == (row.get("kind") == "safety")


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
    row = {"prompt": "P", "responses": ["a", "b"], "scores": [1, 0], "margin_label": label}
    assert format_named("canonical").parse(row, id_="", source="").strength == strength


@pytest.mark.parametrize(
    "row",
    [
        {
            "chosen": "\n\nHuman: A\n\nAssistant: x\n\nHuman: B\n\nAssistant: y",
            "rejected": "\n\nHuman: A\n\nAssistant: z",
        },
        {"chosen": "One thing", "rejected": "Another thing"},
        {
            "chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "x"}],
            "rejected": [{"role": "user", "content": "b"}, {"role": "assistant", "content": "x"}],
        },
    ],
)
def test_dialogues_that_differ_before_the_last_turn_are_set_aside(row: dict[str, Any]) -> None:
    with pytest.raises(UnusableRow, match="prompts_differ"):
        detect_format(row).parse(row, id_="", source="")


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
        ({"prompt": "p", "chosen": "a", "rejected": "b", "margin": "big"}, "margin"),
        ({"chosen": [{"role": "user"}], "rejected": []}, "role"),
        ({"chosen": [{"role": "user", "content": "a"}], "rejected": []}, "chosen"),
    ],
)
def test_a_broken_row_is_refused_by_the_name_of_its_field(row: dict[str, Any], word: str) -> None:
    with pytest.raises(MalformedRow, match=word):
        detect_format(row).parse(row, id_="", source="")


def test_an_unknown_row_is_answered_with_what_would_be_understood() -> None:
    with pytest.raises(MalformedRow) as refusal:
        detect_format({"question": "secret text"})
    assert all(layout.name in str(refusal.value) for layout in FORMATS)
    assert "secret text" not in str(refusal.value)
