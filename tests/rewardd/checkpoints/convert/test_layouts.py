"""A directory's files tell whose it is; where they tell of two, or of none, the user is asked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from rewardd.checkpoints.convert.layouts import read_source
from rewardd.checkpoints.convert.source import LayoutName, ReadOptions, Source
from rm_core.errors import (
    CheckpointError,
    CheckpointNotFound,
    MissingHead,
    UnsafeCheckpoint,
    WrongNumLabels,
)
from tests.adapters import save_base
from tests.models import save_checkpoint
from tests.rewardd.checkpoints.convert import foreign


def read(directory: Path, layout: LayoutName | None = None) -> Source:
    return read_source(str(directory), layout, ReadOptions(), allow_pickle=False)


def test_two_projects_in_one_directory_are_named_with_their_signs(tmp_path: Path) -> None:
    source = foreign.openrlhf(tmp_path / "both")
    values = {"v_head.summary.weight": torch.ones(1, 32), "v_head.summary.bias": torch.ones(1)}
    save_file(values, source.directory / "value_head.safetensors")

    with pytest.raises(CheckpointError, match="--from") as refused:
        read(source.directory)

    assert "llama-factory, as it has value_head.safetensors" in str(refused.value)
    assert "openrlhf, as config.json names the architecture RewardModel" in str(refused.value)
    head = read(source.directory, "openrlhf").head
    assert head is not None
    assert torch.equal(head.weight, source.head)


def test_a_language_model_without_a_head_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no reward head that rewardd knows"):
        read(save_base(tmp_path / "base"))


def test_a_directory_without_a_model_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFound, match=r"neither config\.json nor adapter_config\.json"):
        read(tmp_path)


REFUSED: dict[str, tuple[Callable[[Path], foreign.Foreign], dict[str, Any], type, str]] = {
    "asks for code": (
        *(foreign.trl, {"auto_map": {"AutoModel": "evil.Model"}}),
        *(UnsafeCheckpoint, "remote code"),
    ),
    "lacks the head it names": (
        *(foreign.openrlhf, {"value_head_prefix": "critic"}, MissingHead, r"critic\.weight"),
    ),
    "unknown kind of model": (
        *(foreign.trl, {"model_type": "perceptron"}, CheckpointError, "perceptron"),
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_configuration_that_can_not_be_followed_is_refused(why: str, tmp_path: Path) -> None:
    build, changes, error, said = REFUSED[why]
    path = build(tmp_path / "source").directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    with pytest.raises(error, match=said):
        read(path.parent)


def test_a_plain_classifier_with_two_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongNumLabels, match="2 labels"):
        read(save_checkpoint(tmp_path / "two", num_labels=2))


def test_a_head_with_two_outputs_is_refused(tmp_path: Path) -> None:
    source = foreign.llama_factory(tmp_path / "source")
    values = {"v_head.summary.weight": torch.ones(2, 32), "v_head.summary.bias": torch.ones(2)}
    save_file(values, source.directory / "value_head.safetensors")

    with pytest.raises(WrongNumLabels, match=r"\(2, 32\)"):
        read(source.directory)
