"""LLaMA-Factory's data folders: what dataset_info.json says of their files."""

import json
from pathlib import Path
from typing import Any

import pytest

from rm_core.types import Message
from tests.training.data.formats.golden import record
from training.data.formats import read_records
from training.errors import DataError

PAIR: dict[str, Any] = {"responses": ("With salt.", "Somehow."), "ranking": (0, 1)}
ASK = Message("user", "How is bread kept?")


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
