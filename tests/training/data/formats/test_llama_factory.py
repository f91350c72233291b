"""LLaMA-Factory's ranking data, with and without dataset_info.json."""

import json
from pathlib import Path
from typing import Any

import pytest

from rm_core.types import Message
from tests.training.data.formats.golden import read_rows, record
from training.data.formats import read_records
from training.data.formats.llama_factory import LlamaFactoryFormat, LlamaFactoryV1Format
from training.errors import DataError, MalformedRow, UnusableRow

SIDES = {"chosen": "With salt.", "rejected": "Somehow."}
PAIR: dict[str, Any] = {"responses": ("With salt.", "Somehow."), "ranking": (0, 1)}
ASK = Message("user", "How is bread kept?")


def test_alpaca_rows_join_instruction_and_input(tmp_path: Path) -> None:
    row = {"instruction": "Answer briefly.", "input": "How is bread kept?", **SIDES}

    read = read_rows(tmp_path, [row, {**row, "input": ""}])

    assert read.formats.popitem()[1] == "llama-factory"  # type: ignore[attr-defined]
    assert read.records == (
        record(1, prompt="Answer briefly.\nHow is bread kept?", **PAIR),
        record(2, prompt="Answer briefly.", **PAIR),
    )


def test_system_and_history_become_turns(tmp_path: Path) -> None:
    row = {
        "instruction": "How is bread kept?",
        "input": "",
        "system": "You bake.",
        "history": [["Hello", "Good day"]],
        **SIDES,
    }

    assert read_rows(tmp_path, [row]).records == (
        record(
            1,
            prompt=(
                Message("system", "You bake."),
                Message("user", "Hello"),
                Message("assistant", "Good day"),
                ASK,
            ),
            **PAIR,
        ),
    )


def test_sharegpt_and_openai_tags_give_the_same_record(tmp_path: Path) -> None:
    sharegpt = {
        "conversations": [
            {"from": "human", "value": "Hello"},
            {"from": "gpt", "value": "Good day"},
            {"from": "human", "value": "How is bread kept?"},
        ],
        "chosen": {"from": "gpt", "value": "With salt."},
        "rejected": {"from": "gpt", "value": "Somehow."},
    }
    openai = {
        "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Good day"},
            {"role": "user", "content": "How is bread kept?"},
        ],
        "chosen": {"role": "assistant", "content": "With salt."},
        "rejected": {"role": "assistant", "content": "Somehow."},
    }
    prompt = (Message("user", "Hello"), Message("assistant", "Good day"), ASK)

    assert read_rows(tmp_path, [sharegpt, openai]).records == (
        record(1, prompt=prompt, **PAIR),
        record(2, prompt=prompt, **PAIR),
    )


def test_a_kto_tag_is_a_rating(tmp_path: Path) -> None:
    row = {"instruction": "How is bread kept?", "input": "", "output": "With salt."}

    read = read_rows(tmp_path, [{**row, "kto_tag": True}, {**row, "kto_tag": False}])

    assert [r.ratings for r in read.records] == [(1.0,), (0.0,)]
    assert read.records[0] == record(
        1,
        prompt="How is bread kept?",
        responses=("With salt.",),
        ranking=(0,),
        ratings=(1.0,),
    )


def test_v1_chats_are_compared_by_their_last_message(tmp_path: Path) -> None:
    def chat(text: str) -> list[dict[str, Any]]:
        parts = [{"type": "text", "value": text}]
        return [
            {"role": "user", "content": "How is bread kept?", "loss_weight": 0.0},
            {"role": "assistant", "content": parts, "loss_weight": 1.0},
        ]

    row = {"chosen_messages": chat("With salt."), "rejected_messages": chat("Somehow.")}

    assert read_rows(tmp_path, [row]).records == (record(1, prompt=(ASK,), **PAIR),)


def described(tmp_path: Path, entry: dict[str, Any], rows: list[dict[str, Any]]) -> Path:
    """A LLaMA-Factory data folder with one entry beside one that is for fine-tuning."""
    (tmp_path / "pairs.json").write_text(json.dumps(rows))
    info = {"mine": {"file_name": "pairs.json", **entry}, "plain": {"file_name": "pairs.json"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    return tmp_path


def test_dataset_info_maps_columns_and_tags(tmp_path: Path) -> None:
    entry = {
        "ranking": True,
        "formatting": "sharegpt",
        "columns": {"messages": "talk", "chosen": "up", "rejected": "down"},
        "tags": {
            "role_tag": "who",
            "content_tag": "says",
            "user_tag": "guest",
            "assistant_tag": "host",
        },
    }
    row = {
        "talk": [{"who": "guest", "says": "How is bread kept?"}],
        "up": {"who": "host", "says": "With salt."},
        "down": {"who": "host", "says": "Somehow."},
    }

    read = read_records([f"{described(tmp_path, entry, [row])}@mine"])

    assert read.records == (
        record(0, id="pairs.json:[0]", source="pairs.json", prompt=(ASK,), **PAIR),
    )


def test_dataset_info_maps_alpaca_columns(tmp_path: Path) -> None:
    entry = {"ranking": True, "columns": {"prompt": "q", "chosen": "up", "rejected": "down"}}
    row = {"q": "How is bread kept?", "up": "With salt.", "down": "Somehow."}

    read = read_records([f"{described(tmp_path, entry, [row])}@mine"])

    assert read.records[0].prompt == "How is bread kept?"
    assert read.records[0].responses == ("With salt.", "Somehow.")


def test_an_entry_that_is_no_ranking_or_is_absent_is_an_error(tmp_path: Path) -> None:
    folder = described(tmp_path, {"ranking": True}, [])

    with pytest.raises(DataError, match="ranking"):
        read_records([f"{folder}@plain"])
    with pytest.raises(DataError, match="mine, plain"):
        read_records([f"{folder}@yours"])


@pytest.mark.parametrize(
    "change",
    [
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        {"conversations": [{"from": "stranger", "value": "a"}]},
        {"conversations": [{"from": "human", "value": 1}]},
        {"chosen": {"from": "human", "value": "a"}},
    ],
)
def test_turns_that_do_not_fit_are_refused(change: dict[str, Any]) -> None:
    row = {
        "conversations": [{"from": "human", "value": "a"}],
        "chosen": {"from": "gpt", "value": "b"},
        "rejected": {"from": "gpt", "value": "c"},
        **change,
    }

    with pytest.raises(MalformedRow):
        LlamaFactoryFormat().parse(row, id_="", source="")


def test_rows_with_tools_are_set_aside() -> None:
    row = {"instruction": "I", "input": "", **SIDES, "tools": '[{"name": "search"}]'}

    with pytest.raises(UnusableRow, match="template_arguments"):
        LlamaFactoryFormat().parse(row, id_="", source="")


def test_v1_without_messages_has_no_response() -> None:
    with pytest.raises(UnusableRow, match="no_response"):
        LlamaFactoryV1Format().parse(
            {"chosen_messages": [], "rejected_messages": []}, id_="", source=""
        )
