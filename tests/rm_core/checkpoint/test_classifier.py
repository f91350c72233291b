"""Heads with hidden layers are served exactly; what can't be loaded is one sentence."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rm_core.checkpoint.heads import HiddenLayerHead, ScalarHeads
from rm_core.checkpoint.load import load_reward_model
from rm_core.engine.engine import load_engine
from rm_core.engine.options import EngineOptions
from rm_core.errors import CheckpointError, MissingHead, WrongNumLabels
from rm_core.types import Dialogue
from tests.models import PAD, make_model, make_tokenizer, save_checkpoint
from tests.rewards import own_rewards

DIALOGUES = [Dialogue("How?", "Like this."), Dialogue("", "x" * 40), Dialogue("How?", "No.")]
CONFIGURED = {"rewardd": {"head_activation": "relu"}}
OF_QWEN = {"architectures": ["Qwen2ForRewardModel"]}


def edit_config(directory: Path, **changes: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def layers(*widths: int, seed: int = 5) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of linear layers, from each width to the next."""
    torch.manual_seed(seed)
    return [
        (torch.randn(out, width) * width**-0.5, torch.randn(out)) for width, out in pairwise(widths)
    ]


def give_layers(directory: Path, head: list[tuple[Tensor, Tensor]], names: list[str]) -> None:
    path = directory / "model.safetensors"
    weights = load_file(path)
    del weights["score.weight"]
    for name, (weight, bias) in zip(names, head, strict=True):
        weights |= {f"{name}.weight": weight, f"{name}.bias": bias}
    save_file(weights, path, metadata={"format": "pt"})


def by_hand(
    architecture: str, head: list[tuple[Tensor, Tensor]], act: Callable[[Tensor], Tensor]
) -> list[float]:
    """The hidden state of the last token that is no pad, through the layers, written out."""
    trunk = make_model(architecture).base_model
    rewards = []
    for dialogue in DIALOGUES:
        ids = make_tokenizer()(f"{dialogue.prompt}{dialogue.response}")["input_ids"]
        assert PAD not in ids
        with torch.inference_mode():
            state = trunk(input_ids=torch.tensor([ids]))[0][0, -1]
            for index, (weight, bias) in enumerate(head):
                state = weight @ (act(state) if index else state) + bias
        rewards.append(float(state))
    return rewards


def served(directory: Path, **options: Any) -> list[float]:
    engine = load_engine({"safety": str(directory)}, EngineOptions(**options))
    items = [engine.encode(dialogue) for dialogue in DIALOGUES]
    return [found["safety"] for found in own_rewards(engine, items)]


@pytest.mark.parametrize(
    ("names", "widths", "config", "activation"),
    [
        (["score.0", "score.2"], (32, 24, 1), CONFIGURED, torch.relu),
        (["score.0", "score.2"], (32, 32, 1), OF_QWEN, torch.relu),
        (["score.0", "score.3", "score.6"], (32, 16, 8, 1), CONFIGURED, torch.relu),
        (["score.dense", "score.out_proj"], (32, 32, 1), {}, torch.tanh),
    ],
    ids=["said in the config", "known by its architecture", "three layers", "known by its names"],
)
@pytest.mark.parametrize("architecture", ["qwen2", "gpt2"])
def test_a_head_with_hidden_layers_is_served_exactly(
    architecture: str,
    names: list[str],
    widths: tuple[int, ...],
    config: dict[str, Any],
    activation: Callable[[Tensor], Tensor],
    tmp_path: Path,
) -> None:
    directory = save_checkpoint(tmp_path / "model", architecture)
    head = layers(*widths)
    give_layers(directory, head, names)
    edit_config(directory, **config)

    assert served(directory) == pytest.approx(by_hand(architecture, head, activation), abs=1e-5)


def test_two_such_heads_and_a_linear_one_share_a_trunk(tmp_path: Path) -> None:
    linear = save_checkpoint(tmp_path / "linear")
    deep = save_checkpoint(tmp_path / "deep")
    head = layers(32, 16, 1)
    give_layers(deep, head, ["score.0", "score.2"])
    edit_config(deep, **CONFIGURED)

    engine = load_engine({"safety": str(deep), "helpfulness": str(linear)})

    items = [engine.encode(dialogue) for dialogue in DIALOGUES]
    found = own_rewards(engine, items)
    assert engine.describe()["safety"]["shares_trunk_with"] == ["helpfulness"]
    alone = by_hand("llama", head, torch.relu)
    assert [own["safety"] for own in found] == pytest.approx(alone, abs=1e-5)
    assert [own["helpfulness"] for own in found] == pytest.approx(served(linear), abs=1e-6)


def test_heads_of_both_kinds_give_their_columns_in_order() -> None:
    deep = HiddenLayerHead(layers(3, 2, 1), "tanh")
    flat = torch.nn.Linear(3, 1)
    hidden = torch.randn(4, 3)

    found = torch.tensor(ScalarHeads([deep, flat, deep])(hidden))

    wanted = torch.cat([deep(hidden), flat(hidden), deep(hidden)], dim=1)
    assert torch.allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"deterministic": True}], ids=str)
def test_such_a_head_stays_in_float32_and_runs_every_way(
    options: dict[str, Any], tmp_path: Path
) -> None:
    directory = save_checkpoint(tmp_path / "model")
    head = layers(32, 16, 1)
    give_layers(directory, head, ["score.0", "score.2"])
    edit_config(directory, **CONFIGURED)

    tolerance = 1e-5 if "deterministic" in options else 0.2
    wanted = by_hand("llama", head, torch.relu)
    assert served(directory, **options) == pytest.approx(wanted, abs=tolerance)


def test_an_activation_that_nothing_tells_is_asked_for(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "model")
    give_layers(directory, layers(32, 16, 1), ["score.0", "score.2"])

    with pytest.raises(CheckpointError, match=r"--head score --head-activation relu\|tanh"):
        load_reward_model(str(directory), "safety")


@pytest.mark.parametrize(
    ("widths", "config", "message"),
    [
        ((16, 8, 1), CONFIGURED, "of width 16, and hidden states of 32"),
        ((32, 8, 1), {"rewardd": {"head_activation": "swoosh"}}, "'swoosh' is no activation"),
    ],
)
def test_layers_that_do_not_fit_are_refused(
    widths: tuple[int, ...], config: dict[str, Any], message: str, tmp_path: Path
) -> None:
    directory = save_checkpoint(tmp_path / "model")
    give_layers(directory, layers(*widths), ["score.0", "score.2"])
    edit_config(directory, **config)

    with pytest.raises(CheckpointError, match=message):
        load_reward_model(str(directory), "safety")


def test_an_encoder_has_no_place_for_layers_of_its_own(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "model", "bert")
    path = directory / "model.safetensors"
    added = {"score.0.weight": torch.ones(8, 32), "score.2.weight": torch.ones(1, 8)}
    save_file({**load_file(path), **added}, path, metadata={"format": "pt"})
    edit_config(directory, **CONFIGURED)

    with pytest.raises(CheckpointError, match="heads with hidden layers of its own are for dec"):
        load_reward_model(str(directory), "safety")


def test_a_head_of_another_name_is_told_with_its_command(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "model")
    path = directory / "model.safetensors"
    weights = load_file(path)
    weights["regression_head.weight"] = weights.pop("score.weight")
    save_file(weights, path, metadata={"format": "pt"})

    with pytest.raises(MissingHead, match=r"lacks .*score\.weight.* --head regression_head`"):
        load_reward_model(str(directory), "safety")


@pytest.mark.parametrize(
    "quantisation",
    [
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"load_in_8bit": True},
        {"quant_method": "gptq", "bits": 4},
        {"quant_method": "awq", "bits": 4},
        {"quant_method": "fp8"},
        "nonsense",
    ],
    ids=str,
)
def test_quantised_weights_are_refused_before_anything_is_loaded(
    quantisation: Any, tmp_path: Path
) -> None:
    directory = save_checkpoint(tmp_path / "model")
    edit_config(directory, quantization_config=quantisation)
    (directory / "model.safetensors").write_bytes(b"never opened")

    with pytest.raises(CheckpointError, match=r"are quantised .*dequantize"):
        load_reward_model(str(directory), "safety")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vocab_size": "many"}, "Field 'vocab_size' expected int, got str"),
        ({"architectures": "LlamaForSequenceClassification"}, "architectures .* list"),
        ({"id2label": ["reward"]}, "id2label .* object"),
        ({"num_labels": "1"}, "num_labels .* whole number"),
        ({"model_type": "no_such_model"}, "no_such_model"),
        ({"transformers_weights": "other.safetensors"}, "transformers_weights"),
        ({"model_type": ["llama"]}, "can't load"),
        ({"hidden_act": "no_such_function"}, "no_such_function"),
        ({"rope_scaling": {"type": "no_such_scaling"}}, "no_such_scaling"),
        ({"intermediate_size": 48}, "differ in shape from what config.json says"),
    ],
    ids=str,
)
def test_a_config_that_is_wrong_is_one_sentence(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    directory = save_checkpoint(tmp_path / "model")
    edit_config(directory, **changes)

    with pytest.raises(CheckpointError, match=words) as told:
        load_reward_model(str(directory), "safety")

    assert "\n" not in str(told.value)


def test_two_labels_of_a_linear_head_are_refused(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "model", num_labels=2)

    with pytest.raises(WrongNumLabels, match="2 labels"):
        load_reward_model(str(directory), "safety")
