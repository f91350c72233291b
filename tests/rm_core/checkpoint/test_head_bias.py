"""A head's constant, which transformers drops, is part of every reward that a checkpoint gives."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rm_core.checkpoint.load import load_reward_model
from rm_core.engine.engine import Engine, load_engine
from rm_core.errors import CheckpointError
from rm_core.types import Dialogue
from tests.adapters import edit_weights, save_adapter, save_base
from tests.models import make_tokenizer, save_checkpoint
from tests.rewards import own_rewards

DIALOGUES = [Dialogue("How?", "Like this."), Dialogue("How?", "No.")]


def add_bias(directory: Path, bias: Any, name: str = "score.bias") -> None:
    path = directory / "model.safetensors"
    save_file({**load_file(path), name: bias}, path, metadata={"format": "pt"})


def rewards(engine: Engine) -> list[float]:
    items = [engine.encode(dialogue) for dialogue in DIALOGUES]
    return [rewards["safety"] for rewards in own_rewards(engine, items)]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_checkpoints_bias_is_added_to_every_reward(architecture: str, tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "model", architecture)
    without = rewards(load_engine({"safety": str(directory)}))

    add_bias(directory, torch.tensor([3.25]))

    found = rewards(load_engine({"safety": str(directory)}))
    assert found == pytest.approx([reward + 3.25 for reward in without], abs=1e-6)


def test_an_adapters_bias_is_added_to_every_reward(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    adapter = save_adapter(tmp_path / "adapter", base, seed=1, tokenizer=make_tokenizer())
    without = rewards(load_engine({"safety": str(adapter)}))

    edit_weights(
        adapter,
        lambda weights: weights.update({"base_model.model.score.bias": torch.tensor([-2.0])}),
    )

    found = rewards(load_engine({"safety": str(adapter)}))
    assert found == pytest.approx([reward - 2.0 for reward in without], abs=1e-6)


def test_two_adapters_on_one_base_keep_their_own_biases(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    first = save_adapter(tmp_path / "first", base, seed=1, tokenizer=make_tokenizer())
    second = save_adapter(tmp_path / "second", base, seed=2, tokenizer=make_tokenizer())
    edit_weights(first, lambda w: w.update({"base_model.model.score.bias": torch.tensor([9.0])}))

    both = load_engine({"safety": str(first), "helpfulness": str(second)})

    items = [both.encode(dialogue) for dialogue in DIALOGUES]
    found = own_rewards(both, items)
    assert [r["safety"] for r in found] == pytest.approx(
        rewards(load_engine({"safety": str(first)}))
    )
    alone = rewards(load_engine({"safety": str(second)}))
    assert [r["helpfulness"] for r in found] == pytest.approx(alone)


@pytest.mark.parametrize(
    ("bias", "complaint"),
    [(torch.zeros(2), "shape"), (torch.tensor([float("nan")]), "finite")],
    ids=["two numbers", "not a number"],
)
def test_a_bias_that_is_no_constant_is_refused(bias: Any, complaint: str, tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "model")
    add_bias(directory, bias)

    with pytest.raises(CheckpointError, match=complaint):
        load_reward_model(str(directory), "safety")


def test_a_bias_without_a_linear_score_head_is_refused(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "model", "bert")
    add_bias(directory, torch.zeros(1))

    with pytest.raises(CheckpointError, match="no linear `score`"):
        load_reward_model(str(directory), "safety")
