from typing import Any

import pytest

from training.data.formats.registry import detect_format
from training.data.shown import shown_record

USER = {"role": "user", "content": "Hi\nthere"}


def shown(row: dict[str, Any]) -> list[str]:
    record = detect_format(row).parse(row, id_="rows.jsonl:1", source="rows.jsonl")
    return [line.strip() for line in shown_record(record).splitlines()]


@pytest.mark.parametrize(
    ("row", "lines"),
    [
        (
            {"prompt": "p", "chosen": "a", "rejected": "b", "margin": 0.5},
            ["prompt    p", "chosen    a", "rejected  b", "margin    0.5"],
        ),
        (
            {"prompt": [USER], "responses": ["a", "b"], "ranking": [1, 0], "is_safety": True},
            [
                r"prompt, user  Hi\nthere",
                "chosen        b",
                "rejected      a",
                "is_safety     True",
            ],
        ),
        (
            {"prompt": "p", "responses": ["a", "b", "c"], "scores": [1, 3, 1]},
            [
                "prompt            p",
                *(f"response, rank {n}  {t}" for n, t in ((0, "b"), (1, "a"))),
                "response, rank 1  c",
            ],
        ),
        (
            {"prompt": "p", "completion": "a", "label": True},
            ["prompt    p", "response  a", "rating  1.0"],
        ),
    ],
)
def test_a_row_is_shown_as_it_was_parsed(row: dict[str, Any], lines: list[str]) -> None:
    assert shown(row) == lines


def test_a_long_text_keeps_its_ends_and_nothing_moves_the_cursor() -> None:
    text = "begin" + "x" * 1000 + "\x1b[2J the end"

    (_, chosen, _) = shown({"prompt": "p", "chosen": text, "rejected": "b"})

    assert chosen.startswith("chosen    beginxxx")
    assert chosen.endswith(r"\x1b[2J the end")
    assert "[…717 more…]" in chosen
    assert len(chosen) < 350
