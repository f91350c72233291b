"""A plain row of each format, and of its other shapes, to be changed."""

from collections.abc import Sequence

from rm_core.types import Message
from tests.training.data.formats.test_registry import ROWS, WHY, Row, gpt
from training.data.formats import format_named
from training.data.formats.options import FormatOptions
from training.data.records import PreferenceRecord

WORDS = ["<s>", "</s>", "Is", " ice", " cold", "?", " Yes", " No", "."]
CHOSEN_IDS, REJECTED_IDS = [0, 2, 3, 4, 5, 6, 8, 1], [0, 2, 3, 4, 5, 7, 1]
HELLO = (Message("user", "Hi"), Message("assistant", "Hello"), *WHY)
BEFORE = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant:"


def decode(ids: Sequence[int]) -> str:
    return "".join(WORDS[i] for i in ids)


SHAPES: dict[str, Row] = {name: row for name, row, _ in reversed(ROWS)} | {
    "openrlhf": {"question": "P", "good": "a", "bad": "b", "margin": 2, "chosen": 7},
    "token-ids": {"chosen_ids": CHOSEN_IDS, "rejected_ids": REJECTED_IDS},
    "canonical scores": {"prompt": "P", "responses": ["a", "b"], "scores": [1.0, 0.0]},
    "canonical three": {"prompt": "P", "responses": ["a", "b", "c"], "ranking": [1, 0, 1]},
    "unranked single": {"prompt": "P", "response": "a"},
    "arena table": {"prompt": "P", "response_a": "a", "response_b": "b", "winner_tie": 1},
    "arena texts": {"prompt": "P", "response_a": "a", "response_b": "b", "winner": "model_a"},
    "llama-factory kto": {"instruction": "I", "output": "a", "kto_tag": True},
    "llama-factory sharegpt": {
        "conversations": [{"from": "human", "value": "Why?"}],
        "chosen": gpt("a"),
        "rejected": gpt("b"),
    },
}
"""A plain row of each format, and of its other shapes."""

KEYS = {"prompt_key": "question", "chosen_key": "good", "rejected_key": "bad"}
NEEDED_OPTIONS: dict[str, Row] = {"openrlhf": KEYS, "token-ids": {"decode": decode}}


def parse(shape: str, change: Row, options: Row | None = None) -> PreferenceRecord:
    """The record of that shape's plain row with some columns changed; `...` takes one away."""
    name = shape.partition(" ")[0]
    given = FormatOptions(**(options or NEEDED_OPTIONS.get(name, {})))
    row = {key: value for key, value in {**SHAPES[shape], **change}.items() if value is not ...}
    return format_named(name, given).parse(row, id_="f:1", source="f")
