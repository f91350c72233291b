"""Tensors by name out of whole files, shards and pickles, and nothing else out of pickles."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rewardd.checkpoints.convert.target import write_weights
from rewardd.checkpoints.convert.weights import (
    MODEL,
    VALUE_HEAD,
    Weights,
    find_weights,
    open_weights,
)
from rm_core.errors import CheckpointError, UnsafeCheckpoint


def opened(directory: Path, stem: str = MODEL, *, allow_pickle: bool = False) -> Weights:
    files = find_weights(directory, stem)
    assert files is not None
    return open_weights(files, allow_pickle=allow_pickle)


class Runs:
    """Unpickling this would call a function."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code ran",))


def test_safetensors_go_before_pickles(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    torch.save({"b": torch.ones(1)}, tmp_path / "pytorch_model.bin")

    assert list(opened(tmp_path)) == ["a"]


def test_where_there_are_no_weights_there_are_none(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")

    assert find_weights(tmp_path, VALUE_HEAD) is None


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_pickles_give_their_tensors_only_when_allowed(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.arange(3)}, path, _use_new_zipfile_serialization=zipped)

    with pytest.raises(UnsafeCheckpoint, match="--allow-pickle"):
        opened(tmp_path)
    assert opened(tmp_path, allow_pickle=True)["a"]().tolist() == [0, 1, 2]


def test_code_in_a_pickle_never_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": torch.ones(1), "b": Runs()}, tmp_path / "pytorch_model.bin")

    with pytest.raises(CheckpointError, match="never runs"):
        opened(tmp_path, allow_pickle=True)

    assert "code ran" not in capsys.readouterr().out


def test_a_pickle_of_something_else_than_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"step": 3}, tmp_path / "pytorch_model.bin")

    with pytest.raises(CheckpointError, match="no state dict"):
        opened(tmp_path, allow_pickle=True)


@pytest.mark.parametrize("name", ["../outside.safetensors", "absent.safetensors"])
def test_an_index_may_name_only_files_beside_it(name: str, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    save_file({"a": torch.ones(1)}, tmp_path / "outside.safetensors")
    index = {"weight_map": {"a": name}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))

    with pytest.raises(CheckpointError, match="which is not in"):
        find_weights(directory, MODEL)


def test_damaged_safetensors_are_a_checkpoint_error(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 20)

    with pytest.raises(CheckpointError, match="can't be read"):
        opened(tmp_path)


def test_shards_are_written_with_an_index_and_read_back_to_the_bit(tmp_path: Path) -> None:
    tied = torch.randn(64, 16)
    tensors = {
        "a": tied,
        "b": tied,
        "c": torch.randn(8).to(torch.bfloat16),
        "d": torch.randn(16, 64).T,
    }
    weights: Weights = {name: (lambda tensor=tensor: tensor) for name, tensor in tensors.items()}

    write_weights(tmp_path, weights, max_shard_size=5000)

    assert len(list(tmp_path.glob("model-*.safetensors"))) == 3
    found = opened(tmp_path)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name]().dtype == tensor.dtype
        assert torch.equal(found[name](), tensor)
