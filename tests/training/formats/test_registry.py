"""Each row is in exactly the format that its keys say."""

from typing import Any

import pytest

from training.errors import DataError, MalformedRow
from training.formats import FORMATS, detect_format, format_named

HH = "\n\nHuman: Why?\n\nAssistant: "
CHAT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
ROWS: list[tuple[str, dict[str, Any]]] = [
    ("canonical", {"prompt": "P", "responses": ["a", "b"], "ranking": [0, 1]}),
    ("canonical", {"prompt": "P", "responses": ["a", "b"], "scores": [0.0, 1.0]}),
    ("canonical", {"prompt": "P", "responses": ["a"], "scores": [1], "chosen": "a"}),
    ("hh-rlhf", {"chosen": HH + "a", "rejected": HH + "b"}),
    ("trl-explicit", {"prompt": "P", "chosen": "a", "rejected": "b"}),
    ("trl-explicit", {"prompt": "P", "chosen": HH + "a", "rejected": HH + "b"}),
    ("trl-implicit", {"chosen": "P a", "rejected": "P b"}),
    ("trl-conversational", {"chosen": CHAT, "rejected": CHAT}),
    ("trl-conversational", {"prompt": CHAT[:1], "chosen": CHAT[1:], "rejected": CHAT[1:]}),
    ("trl-conversational", {"prompt": "P", "chosen": CHAT[1:], "rejected": CHAT[1:]}),
]


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_a_row_is_detected_by_its_shape(name: str, row: dict[str, Any]) -> None:
    assert detect_format(row).name == name
    detect_format(row).parse(row, id_="f:1", source="f")


def test_every_format_is_detected_by_some_row_and_found_by_its_name() -> None:
    assert {name for name, _ in ROWS} == {layout.name for layout in FORMATS}
    assert all(format_named(layout.name) is layout for layout in FORMATS)


def test_an_unknown_row_is_answered_with_what_would_be_understood() -> None:
    with pytest.raises(MalformedRow) as refusal:
        detect_format({"question": "secret text"})

    assert all(layout.name in str(refusal.value) for layout in FORMATS)
    assert "secret text" not in str(refusal.value)


def test_an_unknown_name_is_answered_with_those_that_exist() -> None:
    with pytest.raises(DataError) as refusal:
        format_named("parquet")

    assert all(layout.name in str(refusal.value) for layout in FORMATS)
