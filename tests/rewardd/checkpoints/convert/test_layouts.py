"""A directory's files tell whose it is; where they tell of two, or of none, the user is asked."""

import json
from pathlib import Path

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


def read(
    directory: Path, layout: LayoutName | None = None, *, allow_pickle: bool = False
) -> Source:
    return read_source(str(directory), layout, ReadOptions(), allow_pickle=allow_pickle)


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


def test_pickles_alone_say_which_flag_reads_them(tmp_path: Path) -> None:
    source = foreign.deepspeed_chat(tmp_path / "pickled")

    with pytest.raises(UnsafeCheckpoint, match="--allow-pickle"):
        read(source.directory)
    assert read(source.directory, allow_pickle=True).layout == "deepspeed-chat"


def test_a_configuration_that_asks_for_code_is_refused(tmp_path: Path) -> None:
    source = foreign.trl(tmp_path / "source")
    path = source.directory / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Model"}}))

    with pytest.raises(UnsafeCheckpoint, match="remote code"):
        read(source.directory)


def test_an_openrlhf_checkpoint_without_the_head_it_names_is_refused(tmp_path: Path) -> None:
    source = foreign.openrlhf(tmp_path / "source")
    path = source.directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "value_head_prefix": "critic"}))

    with pytest.raises(MissingHead, match=r"critic\.weight"):
        read(source.directory)


def test_a_plain_classifier_with_two_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongNumLabels, match="2 labels"):
        read(save_checkpoint(tmp_path / "two", num_labels=2))


def test_a_head_with_two_outputs_is_refused(tmp_path: Path) -> None:
    source = foreign.llama_factory(tmp_path / "source")
    values = {"v_head.summary.weight": torch.ones(2, 32), "v_head.summary.bias": torch.ones(2)}
    save_file(values, source.directory / "value_head.safetensors")

    with pytest.raises(WrongNumLabels, match=r"\(2, 32\)"):
        read(source.directory)


def test_an_unknown_kind_of_model_is_named(tmp_path: Path) -> None:
    source = foreign.trl(tmp_path / "source")
    path = source.directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "perceptron"}))

    with pytest.raises(CheckpointError, match="perceptron"):
        read(source.directory)
