"""Every tensor is used, left over for a known reason, or refused by name with the way on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rm_core.checkpoint.load import load_reward_model
from rm_core.errors import UnaccountedWeights
from tests.adapters import save_adapter, save_base
from tests.models import make_tokenizer, save_checkpoint


def edit(directory: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    path = directory / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})
    return directory


def fates(directory: Path) -> dict[str, tuple[str, str]]:
    accounts = load_reward_model(str(directory), "safety").accounts
    return {entry.name: (entry.fate, entry.reason) for entry in accounts}


def test_a_sound_checkpoints_tensors_are_all_used(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "model")

    found = fates(directory)

    assert found.keys() == load_file(directory / "model.safetensors").keys()
    assert set(found.values()) == {("used", "")}


@pytest.mark.parametrize(
    ("architecture", "name", "tensor", "reason"),
    [
        ("llama", "lm_head.weight", torch.ones(4, 32), "a language model's head"),
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq", torch.ones(4), "anew"),
        ("llama", "model.layers.0.self_attn.q_proj.bias", torch.zeros(32), "a bias of zeros"),
        ("gpt2", "transformer.h.0.attn.bias", torch.ones(1, 1, 8, 8), "a mask"),
        ("gpt2", "transformer.h.0.attn.masked_bias", torch.tensor(-1e4), "a mask"),
        ("bert", "cls.predictions.bias", torch.ones(4), "a pretraining head"),
        ("bert", "bert.embeddings.position_ids", torch.arange(640)[None], "anew"),
        ("llama", "score.bias", torch.tensor([0.5]), ""),
    ],
)
def test_what_no_reward_depends_on_is_left_over_for_a_reason(
    architecture: str, name: str, tensor: Tensor, reason: str, tmp_path: Path
) -> None:
    directory = save_checkpoint(tmp_path / "model", architecture)
    edit(directory, lambda weights: weights.update({name: tensor}))

    fate, why = fates(directory)[name]

    assert fate == ("left over" if reason else "used")
    assert reason in why


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("model.layers.0.self_attn.q_proj.bias", torch.ones(32), "attention_bias: false.* say tr"),
        ("model.layers.0.mlp.up_proj.bias", torch.ones(64), "says attention_bias: false"),
        ("model.layers.0.self_attn.bias", torch.ones(32), "attention_bias: false"),
        ("old.scale", torch.ones(3), r"no place; .* config\.json that the model was trained with"),
        ("reward_head.weight", torch.ones(1, 32), "convert .* OUTPUT --head reward_head"),
        ("norm.weight", torch.ones(32), r"norm\.weight.* the same parameter; keep"),
    ],
)
def test_a_tensor_without_a_place_is_refused_by_name(
    name: str, tensor: Tensor, message: str, tmp_path: Path
) -> None:
    directory = save_checkpoint(tmp_path / "model")
    edit(directory, lambda weights: weights.update({name: tensor}))

    with pytest.raises(UnaccountedWeights, match=message) as told:
        load_reward_model(str(directory), "safety")

    assert name in str(told.value)


def test_biases_are_part_of_the_reward_where_the_config_says_so(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "model", attention_bias=True)

    assert fates(directory)["model.layers.0.self_attn.q_proj.bias"] == ("used", "")


def test_a_weight_that_the_files_lack_is_refused_by_name(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "model")
    edit(directory, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))

    with pytest.raises(UnaccountedWeights, match=r"lacks .*layers\.1\.mlp\.up_proj.* random"):
        load_reward_model(str(directory), "safety")


def test_whole_numbers_where_weights_should_be_are_refused(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "model")
    name = "model.layers.0.mlp.up_proj.weight"
    edit(directory, lambda weights: weights.update({name: weights[name].to(torch.int8)}))

    with pytest.raises(UnaccountedWeights, match="I8: quantised"):
        load_reward_model(str(directory), "safety")


def test_names_in_a_wrapper_say_which_command_takes_it_off(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "model")

    def wrap(weights: dict[str, Tensor]) -> None:
        named = {f"module.{name}": tensor for name, tensor in weights.items()}
        weights.clear()
        weights.update(named)

    edit(directory, wrap)

    with pytest.raises(UnaccountedWeights, match=r"begin with 'module\.'.* `rewardd convert"):
        load_reward_model(str(directory), "safety")


def test_an_adapters_base_is_accounted_for_and_its_own_head_is_left_over(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    adapter = save_adapter(tmp_path / "adapter", base, seed=1, tokenizer=make_tokenizer())
    edit(base, lambda weights: weights.update({"v_head.weight": torch.ones(1, 32)}))

    found = fates(adapter)

    assert found["v_head.weight"] == ("left over", "an adapter brings the head")
    assert found["lm_head.weight"] == ("left over", "a language model's head")

    edit(base, lambda w: w.update({"model.layers.0.self_attn.k_proj.bias": torch.ones(16)}))
    with pytest.raises(UnaccountedWeights, match=r"k_proj\.bias"):
        load_reward_model(str(adapter), "safety")


def test_an_adapters_head_of_another_name_is_told(tmp_path: Path) -> None:
    adapter = save_adapter(tmp_path / "adapter", save_base(tmp_path / "base"), seed=1)
    path = adapter / "adapter_model.safetensors"
    weights = load_file(path)
    own = "base_model.model.v_head"
    weights[f"{own}.weight"] = weights.pop("base_model.model.score.weight")
    save_file(weights, path, metadata={"format": "pt"})

    with pytest.raises(Exception, match=rf"looks like it: .* --head {own}"):
        load_reward_model(str(adapter), "safety")


def test_the_config_is_read_where_a_bias_is_explained(tmp_path: Path) -> None:
    """A class whose biases no key switches gets the general advice."""
    directory = save_checkpoint(tmp_path / "model", "qwen2")
    name = "model.layers.0.mlp.up_proj.bias"
    edit(directory, lambda weights: weights.update({name: torch.ones(64)}))
    config: dict[str, Any] = json.loads((directory / "config.json").read_text())
    assert not any(config.get(key) is False for key in ("attention_bias", "mlp_bias"))

    with pytest.raises(UnaccountedWeights, match="transformers would drop what has none"):
        load_reward_model(str(directory), "safety")
