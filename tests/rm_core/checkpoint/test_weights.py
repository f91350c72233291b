"""Only the files that transformers reads are a checkpoint's; their headers say what they hold."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rm_core.checkpoint.load import load_reward_model, weights_digest
from rm_core.checkpoint.weights import (
    INDEX,
    WEIGHTS,
    read_tensor,
    shards_of,
    stored_tensors,
    stray_files,
    weight_files,
)
from rm_core.engine.engine import load_engine
from rm_core.errors import CheckpointError, CheckpointNotFound
from rm_core.types import Dialogue
from tests.models import save_checkpoint
from tests.rewards import own_rewards


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "whole")


def in_two_shards(directory: Path) -> Path:
    """The same weights as two files and their index."""
    weights = load_file(directory / WEIGHTS)
    names = sorted(weights)
    weight_map = {}
    for file, part in (("a.safetensors", names[:5]), ("b.safetensors", names[5:])):
        save_file({n: weights[n] for n in part}, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    (directory / WEIGHTS).unlink()
    (directory / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return directory


def reward(directory: Path) -> float:
    engine = load_engine({"safety": str(directory)})
    item = engine.encode(Dialogue("How?", "Like this."))
    return own_rewards(engine, [item])[0]["safety"]


def test_a_stray_files_bias_is_in_no_reward(whole: Path) -> None:
    before, digest = reward(whole), weights_digest(whole)

    save_file({"score.bias": torch.tensor([3.0])}, whole / "old_head.safetensors")

    assert reward(whole) == before
    assert weights_digest(whole) == digest
    assert stray_files(whole) == ("old_head.safetensors",)


def test_the_shards_of_an_earlier_save_are_not_read_beside_a_whole_file(whole: Path) -> None:
    before = reward(whole)
    weights = load_file(whole / WEIGHTS)
    in_two_shards(whole)
    save_file(weights, whole / WEIGHTS, metadata={"format": "pt"})
    (whole / "a.safetensors").write_bytes(b"cut")

    assert weight_files(whole) == (whole / WEIGHTS,)
    assert reward(whole) == before


def test_shards_are_read_as_their_index_names_them(whole: Path) -> None:
    before = reward(whole)

    in_two_shards(whole)

    assert [path.name for path in weight_files(whole)] == ["a.safetensors", "b.safetensors"]
    assert reward(whole) == before


def test_weights_of_another_name_are_told(whole: Path) -> None:
    (whole / WEIGHTS).rename(whole / "weights.safetensors")

    with pytest.raises(CheckpointNotFound, match=r"but weights\.safetensors; name"):
        load_reward_model(str(whole), "safety")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({}, "weight_map"),
        ({"weight_map": {"score.weight": "c.safetensors"}}, "fetch the missing shard"),
        ({"weight_map": {"score.weight": "../whole/a.safetensors"}}, "not in"),
    ],
)
def test_a_damaged_index_says_what_is_wrong(
    whole: Path, index: dict[str, object], message: str
) -> None:
    in_two_shards(whole)
    (whole / INDEX).write_text(json.dumps(index))

    with pytest.raises(CheckpointError, match=message):
        shards_of(whole / INDEX)


def test_an_index_that_transformers_cannot_read_is_told(whole: Path) -> None:
    in_two_shards(whole)
    (whole / INDEX).write_text(json.dumps({"weight_map": {"score.weight": "a.safetensors"}}))

    with pytest.raises(CheckpointError, match='add "metadata"'):
        load_reward_model(str(whole), "safety")


def test_a_tensor_in_two_shards_is_refused(whole: Path) -> None:
    in_two_shards(whole)
    first = load_file(whole / "a.safetensors")
    second = load_file(whole / "b.safetensors")
    save_file({**second, **first}, whole / "b.safetensors", metadata={"format": "pt"})

    with pytest.raises(CheckpointError, match=r"is in a\.safetensors and in b\.safetensors"):
        load_reward_model(str(whole), "safety")


def test_headers_tell_shapes_and_dtypes_and_tensors_are_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    save_file({"x": torch.ones(2, 3).bfloat16(), "y": torch.arange(4)}, path)

    stored = stored_tensors((path,))

    assert (stored["x"].shape, stored["x"].dtype) == ((2, 3), "BF16")
    assert (stored["y"].shape, stored["y"].dtype) == ((4,), "I64")
    assert torch.equal(read_tensor(stored["y"]), torch.arange(4))


@pytest.mark.parametrize("name", [WEIGHTS, INDEX])
def test_a_link_to_weights_that_are_gone_is_told_as_that(whole: Path, name: str):
    (whole / WEIGHTS).unlink()
    (whole / name).symlink_to("nowhere.safetensors")

    with pytest.raises(CheckpointNotFound, match=f"{name} is a link to a file that is gone"):
        weight_files(whole)
