"""Nectar's rankings, AlpacaFarm's and the Arena's duels."""

from pathlib import Path
from typing import Any

import pytest

from rm_core.types import Message
from tests.training.data.formats.golden import read_rows, record
from training.data.formats import format_named
from training.data.formats.arena import ArenaFormat
from training.errors import MalformedRow, UnusableRow

ASK = Message("user", "Name a bird.")


def test_nectars_rank_one_is_the_best(tmp_path: Path) -> None:
    row = {
        "prompt": "\n\nHuman: Name a bird.\n\nAssistant: ",
        "answers": [
            {"answer": "Table", "model": "a", "rank": 7.0},
            {"answer": "Wren", "model": "b", "rank": 1.0},
            {"answer": "Owl", "model": "c", "rank": 2.0},
        ],
        "turns": 1,
    }

    assert read_rows(tmp_path, [row]).records == (
        record(1, prompt=(ASK,), responses=("Table", "Wren", "Owl"), ranking=(2, 0, 1)),
    )


@pytest.mark.parametrize(
    ("preference", "ranking"), [(1, (0, 1)), (2, (1, 0)), (1.5, (0, 0)), (0, (0, 0))]
)
def test_alpaca_farm_prefers_the_first_or_the_second(
    tmp_path: Path, preference: float, ranking: tuple[int, int]
) -> None:
    row = {
        "instruction": "Name one.",
        "input": "birds",
        "output_1": "Wren",
        "output_2": "Table",
        "preference": preference,
    }

    assert read_rows(tmp_path, [row]).records == (
        record(1, prompt="Name one.\nbirds", responses=("Wren", "Table"), ranking=ranking),
    )


def test_another_preference_is_refused() -> None:
    row = {"instruction": "I", "output_1": "a", "output_2": "b", "preference": 3}

    with pytest.raises(MalformedRow, match="preference"):
        format_named("alpaca-farm").parse(row, id_="", source="")


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": "Name a bird."}, {"role": "assistant", "content": text}]


@pytest.mark.parametrize(
    ("winner", "ranking"),
    [("model_a", (0, 1)), ("model_b", (1, 0)), ("tie", (0, 0)), ("tie (bothbad)", (0, 0))],
)
def test_an_arena_duel_is_won_lost_or_drawn(
    tmp_path: Path, winner: str, ranking: tuple[int, int]
) -> None:
    expected = record(1, prompt=(ASK,), responses=("Wren", "Table"), ranking=ranking)
    conversations = {
        "conversation_a": chat("Wren"),
        "conversation_b": chat("Table"),
        "winner": winner,
    }
    table = {
        "prompt": '["Name a bird."]',
        "response_a": '["Wren"]',
        "response_b": '["Table"]',
        "winner_model_a": int(winner == "model_a"),
        "winner_model_b": int(winner == "model_b"),
        "winner_tie": int(winner.startswith("tie")),
    }

    assert read_rows(tmp_path, [conversations]).records == (expected,)
    assert read_rows(tmp_path, [table]).records == (expected,)


def test_duels_that_part_before_the_last_answer_are_set_aside() -> None:
    row = {
        "prompt": ["a", "b"],
        "response_a": ["one", "two"],
        "response_b": ["other", "two"],
        "winner": "model_a",
    }

    with pytest.raises(UnusableRow, match="prompts_differ"):
        ArenaFormat().parse(row, id_="", source="")


@pytest.mark.parametrize(
    "change",
    [
        {"winner": "nobody"},
        {"prompt": ["a", "b"]},
        {"response_a": 3},
    ],
)
def test_a_broken_duel_is_refused(change: dict[str, Any]) -> None:
    row = {"prompt": "a", "response_a": "b", "response_b": "c", "winner": "model_a", **change}

    with pytest.raises(MalformedRow):
        ArenaFormat().parse(row, id_="", source="")


def test_a_table_row_needs_exactly_one_outcome() -> None:
    row = {"prompt": "a", "response_a": "b", "response_b": "c", "winner_model_a": 0}

    with pytest.raises(MalformedRow, match="winner_tie"):
        ArenaFormat().parse(row, id_="", source="")


def test_a_response_in_brackets_that_is_no_list_stays_a_text() -> None:
    row = {"prompt": "a", "response_a": "[1, 2]", "response_b": "[b", "winner": "model_a"}

    assert ArenaFormat().parse(row, id_="", source="").responses == ("[1, 2]", "[b")
