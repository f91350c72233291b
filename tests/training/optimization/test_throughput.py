import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.training.small_trainings import fresh, recipe, train_examples
from training.data.examples import EncodedExample
from training.modeling.reward_model import TrainableModel
from training.optimization.throughput import Pace, PaceClock
from training.optimization.trainer import train


@pytest.fixture
def examples(start: TrainableModel, tmp_path: Path) -> tuple[EncodedExample, ...]:
    return train_examples(start.encoder, tmp_path, 16)


def paced(
    base: Path, examples: Sequence[EncodedExample], directory: Path, *, packing: bool
) -> tuple[dict[str, Any], list[str]]:
    said: list[str] = []
    config = recipe(packing=packing)
    train(fresh(base), examples, config, run_directory=directory, say=said.append)
    return json.loads((directory / "pace.json").read_text()), said


def test_a_run_counts_the_tokens_that_it_computes_and_those_that_it_was_given(
    tiny_base: Path, examples: tuple[EncodedExample, ...], tmp_path: Path
) -> None:
    given = sum(encoded.num_tokens for each in examples for encoded in each.encoded)

    packed, said = paced(tiny_base, examples, tmp_path / "packed", packing=True)
    padded, _ = paced(tiny_base, examples, tmp_path / "padded", packing=False)

    assert packed["sequence_tokens"] == padded["sequence_tokens"] == given
    assert packed["computed_tokens"] < given <= padded["computed_tokens"]
    assert f"{packed['computed_tokens']} tokens computed for {given} (-" in said[-1]


def test_the_updates_take_all_of_the_loop(
    tiny_base: Path, examples: tuple[EncodedExample, ...], tmp_path: Path
) -> None:
    found, _ = paced(tiny_base, examples, tmp_path, packing=True)

    assert len(found["update_seconds"]) == -(-len(examples) // 4)
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
