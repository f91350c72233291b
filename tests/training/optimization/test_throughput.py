import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.training.samples import preference_rows, write_jsonl
from training.config import load_config
from training.data.formats import read_records
from training.data.prepare import DataOptions, PreparedData, prepare_data
from training.modeling.reward_model import TrainableModel, reward_model_from
from training.optimization.throughput import Pace, PaceClock
from training.optimization.trainer import train


@pytest.fixture
def data(start: TrainableModel, tmp_path: Path) -> PreparedData:
    file = write_jsonl(tmp_path / "rows.jsonl", preference_rows(16))
    return prepare_data(read_records([file]), start.encoder, DataOptions(role="safety"))


def paced(
    base: Path, data: PreparedData, directory: Path, *, packing: bool
) -> tuple[dict[str, Any], list[str]]:
    said: list[str] = []
    config = load_config(
        None,
        {
            "role": "safety",
            "data": ["-"],
            "base": str(base),
            "output": "-",
            "batch_size": 4,
            "gradient_accumulation": 1,
            "packing": packing,
        },
    )
    start = reward_model_from(str(base), max_length=128, seed=0)
    train(start, data.train, config, run_directory=directory, say=said.append)
    return json.loads((directory / "pace.json").read_text()), said


def test_a_run_counts_the_tokens_that_it_computes_and_those_that_it_was_given(
    tiny_base: Path, data: PreparedData, tmp_path: Path
) -> None:
    given = sum(encoded.num_tokens for each in data.train for encoded in each.encoded)

    packed, said = paced(tiny_base, data, tmp_path / "packed", packing=True)
    padded, _ = paced(tiny_base, data, tmp_path / "padded", packing=False)

    assert packed["sequence_tokens"] == padded["sequence_tokens"] == given
    assert packed["computed_tokens"] < given <= padded["computed_tokens"]
    assert f"{packed['computed_tokens']} tokens computed for {given} (-" in said[-1]


def test_the_updates_take_all_of_the_loop(
    tiny_base: Path, data: PreparedData, tmp_path: Path
) -> None:
    found, _ = paced(tiny_base, data, tmp_path, packing=True)

    assert len(found["update_seconds"]) == -(-len(data.train) // 4)
    assert all(seconds > 0 for seconds in found["update_seconds"])
    assert sum(found["update_seconds"]) <= found["seconds"]
    assert found["peak_bytes"] > 2**20


def test_a_run_on_cached_states_speaks_of_no_tokens() -> None:
    clock = PaceClock()
    clock.on_train_begin()
    clock.count(100, 0)
    clock.on_step_end()
    clock.on_train_end()

    assert "tokens" not in clock.pace().to_text()


def test_a_run_that_was_complete_already_says_so() -> None:
    pace = Pace(0.5, (), 0, 0, None)

    assert pace.to_text() == "trained for 0.5 s; no update was left to do"
    assert "half of them within 0.200 s" in replace(pace, update_seconds=(0.1, 0.2, 0.3)).to_text()
