"""A head that the user names: converted, served, and equal to its arithmetic written out."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from rewardd.checkpoints.convert.run import ConvertOptions, convert
from rewardd.checkpoints.convert.source import ReadOptions
from rewardd.cli import app
from rm_core.engine.engine import load_engine
from rm_core.errors import (
    CheckpointError,
    ConfigurationError,
    MissingHead,
    UnaccountedWeights,
)
from tests.adapters import edit_config, save_adapter, save_base
from tests.models import make_model, make_tokenizer, save_checkpoint
from tests.rewardd.checkpoints.convert.comparing import ids_and_rewards
from tests.rewardd.checkpoints.convert.foreign import causal_lm

Reward = Callable[[Sequence[int]], float]


def edit(directory: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    path = directory / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})
    return directory


def renamed(directory: Path, name: str) -> Path:
    save_checkpoint(directory)
    return edit(directory, lambda w: w.update({name: w.pop("score.weight")}))


def own_reward(ids: Sequence[int]) -> float:
    """The reward of `save_checkpoint`'s model by transformers."""
    with torch.inference_mode():
        return float(make_model("llama")(input_ids=torch.tensor([list(ids)])).logits)


def assert_equal(directory: Path, reward: Reward) -> None:
    found = ids_and_rewards(load_engine({"helpfulness": str(directory)}))
    wanted = [reward(ids) for ids, _ in found]
    assert [own for _, own in found] == pytest.approx(wanted, abs=1e-5)
    assert max(wanted) - min(wanted) > 0.1


def converted(source: Path, output: Path, **told: Any) -> Path:
    convert(str(source), output, ConvertOptions(role="helpfulness", reading=ReadOptions(**told)))
    return output


@pytest.mark.parametrize(
    ("tensor", "head"),
    [
        ("regression_head.weight", "regression_head"),
        ("v_head.weight", "v_head.weight"),
        ("value_head.weight", "value_head"),
        ("rm.proj.weight", "rm.proj"),
        ("reward_vector", "reward_vector"),
    ],
)
def test_a_linear_head_of_any_name_gives_the_same_rewards(
    tensor: str, head: str, tmp_path: Path
) -> None:
    source = renamed(tmp_path / "source", tensor)

    output = converted(source, tmp_path / "ours", head=head)

    assert_equal(output, own_reward)
    assert tensor not in load_file(output / "model.safetensors")


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2"])
def test_an_encoders_head_goes_where_its_class_has_it(architecture: str, tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path / "source", architecture)

    def rename(weights: dict[str, Tensor]) -> None:
        for part in ("weight", "bias"):
            weights[f"reward.{part}"] = weights.pop(f"classifier.{part}")

    edit(source, rename)
    with pytest.raises(MissingHead, match="--head reward`"):
        load_engine({"safety": str(source)})

    output = converted(source, tmp_path / "ours", head="reward")

    def reward(ids: Sequence[int]) -> float:
        with torch.inference_mode():
            return float(make_model(architecture)(input_ids=torch.tensor([list(ids)])).logits)

    assert_equal(output, reward)


def test_the_command_of_the_refusal_is_one_that_helps(tmp_path: Path) -> None:
    source = renamed(tmp_path / "source", "regression_head.weight")
    with pytest.raises(MissingHead) as told:
        load_engine({"safety": str(source)})
    command = str(told.value).partition("`rewardd ")[2].partition("`")[0]

    words = command.replace("OUTPUT", str(tmp_path / "ours")).split()
    result = CliRunner().invoke(app, [*words, "--role", "helpfulness"])

    assert result.exit_code == 0, result.output
    assert_equal(tmp_path / "ours", own_reward)


def test_a_head_beside_the_one_that_is_read_can_be_chosen(tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path / "source")
    torch.manual_seed(9)
    other = torch.randn(1, 32)
    edit(source, lambda weights: weights.update({"second.weight": other}))

    output = converted(source, tmp_path / "ours", head="second")

    def reward(ids: Sequence[int]) -> float:
        with torch.inference_mode():
            states = make_model("llama").base_model(input_ids=torch.tensor([list(ids)]))[0]
            return float(other @ states[0, -1])

    # Refused without the flag, and with it the first one is out.
    assert_equal(output, reward)
    with pytest.raises(UnaccountedWeights, match="--head second"):
        load_engine({"safety": str(source)})


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "silu", "sigmoid"])
def test_a_head_with_hidden_layers_takes_its_activation_from_the_flag(
    activation: str, tmp_path: Path
) -> None:
    source = save_checkpoint(tmp_path / "source")
    torch.manual_seed(9)
    first, last, bias = torch.randn(24, 32) / 5, torch.randn(1, 24) / 4, torch.tensor([0.75])

    def deepen(weights: dict[str, Tensor]) -> None:
        del weights["score.weight"]
        weights |= {"v_head.0.weight": first, "v_head.3.weight": last, "v_head.3.bias": bias}

    edit(source, deepen)
    output = converted(source, tmp_path / "ours", head="v_head", head_activation=activation)
    act = getattr(torch, activation, None) or getattr(torch.nn.functional, activation)

    def reward(ids: Sequence[int]) -> float:
        with torch.inference_mode():
            states = make_model("llama").base_model(input_ids=torch.tensor([list(ids)]))[0]
            return float(last @ act(first @ states[0, -1]) + bias)

    assert_equal(output, reward)
    names = set(load_file(output / "model.safetensors"))
    assert {"score.0.weight", "score.2.weight", "score.2.bias"} <= names


def test_such_a_head_has_a_place_in_ours_alone(tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path / "source")

    def deepen(weights: dict[str, Tensor]) -> None:
        del weights["score.weight"]
        weights |= {"score.0.weight": torch.ones(4, 32), "score.2.weight": torch.ones(1, 4)}

    edit(source, deepen)

    with pytest.raises(CheckpointError, match="--head-activation"):
        converted(source, tmp_path / "asked")
    options = ConvertOptions(target="openrlhf", reading=ReadOptions(head_activation="relu"))
    with pytest.raises(CheckpointError, match="for which openrlhf has no place"):
        convert(str(source), tmp_path / "other", options)


@pytest.mark.parametrize("tied", [False, True], ids=["own head", "tied"])
def test_the_logit_of_one_token_is_served_as_a_reward(tied: bool, tmp_path: Path) -> None:
    model = causal_lm("llama", tie_word_embeddings=tied)
    if tied:
        with torch.no_grad():
            model.get_input_embeddings().weight.normal_(0.0, 1.0)
    model.save_pretrained(tmp_path / "source")
    make_tokenizer(chat=True).save_pretrained(tmp_path / "source")

    output = converted(tmp_path / "source", tmp_path / "ours", head="lm_head[7]")

    def reward(ids: Sequence[int]) -> float:
        with torch.inference_mode():
            return float(model(input_ids=torch.tensor([list(ids)])).logits[0, -1, 7])

    assert_equal(output, reward)


def test_logits_that_are_scaled_are_no_rows(tmp_path: Path) -> None:
    causal_lm("gemma2", final_logit_softcapping=30.0).save_pretrained(tmp_path / "source")
    make_tokenizer().save_pretrained(tmp_path / "source")

    with pytest.raises(CheckpointError, match="scales its logits"):
        converted(tmp_path / "source", tmp_path / "ours", head="lm_head[0]")


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "pretrained_model."])
@pytest.mark.parametrize("architecture", ["llama", "bert"])
def test_what_a_wrapper_put_before_all_names_is_taken_off(
    architecture: str, wrapper: str, tmp_path: Path
) -> None:
    source = save_checkpoint(tmp_path / "source", architecture)

    def wrap(weights: dict[str, Tensor]) -> None:
        named = {f"{wrapper}{name}": tensor for name, tensor in weights.items()}
        weights.clear()
        weights.update(named)

    edit(source, wrap)
    output = converted(source, tmp_path / "ours")
    model = make_model(architecture)

    def reward(ids: Sequence[int]) -> float:
        with torch.inference_mode():
            return float(model(input_ids=torch.tensor([list(ids)])).logits)

    assert_equal(output, reward)


@pytest.mark.parametrize("head", ["reward", "base_model.model.reward"])
def test_an_adapters_head_can_be_named_too(head: str, tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    source = save_adapter(tmp_path / "source", base, seed=1, tokenizer=make_tokenizer())
    wanted = ids_and_rewards(load_engine({"helpfulness": str(source)}))
    path = source / "adapter_model.safetensors"
    weights = load_file(path)
    weights["base_model.model.reward.weight"] = weights.pop("base_model.model.score.weight")
    save_file(weights, path, metadata={"format": "pt"})
    edit_config(source, modules_to_save=["reward"], task_type="CAUSAL_LM")

    output = converted(source, tmp_path / "ours", head=head)

    found = ids_and_rewards(load_engine({"helpfulness": str(output)}))
    assert [reward for _, reward in found] == pytest.approx([r for _, r in wanted], abs=1e-5)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("nothing", "there is no tensor nothing .* these have: regression_head"),
        ("model.norm", r"model\.norm is \(32,\), and a reward head is \(1, hidden\)"),
        ("model.embed_tokens", r"NAME\[TOKEN_ID\]"),
        ("model.embed_tokens[99999]", "no row 99999"),
        ("lm_head[0]", "no tensor lm_head"),
    ],
)
def test_a_head_that_is_none_is_told(head: str, message: str, tmp_path: Path) -> None:
    source = renamed(tmp_path / "source", "regression_head.weight")

    with pytest.raises(MissingHead, match=message):
        converted(source, tmp_path / "ours", head=head)


def test_what_is_neither_trunk_nor_head_is_refused(tmp_path: Path) -> None:
    source = renamed(tmp_path / "source", "regression_head.weight")
    edit(source, lambda weights: weights.update({"gate.scale": torch.ones(3)}))

    with pytest.raises(UnaccountedWeights, match=r"gate\.scale.* neither the trunk"):
        converted(source, tmp_path / "ours", head="regression_head")


@pytest.mark.parametrize(
    ("head", "tensors"),
    [
        (
            "score.3",
            {"score.0.weight": (32, 32), "score.1.weight": (32,), "score.3.weight": (1, 32)},
        ),
        ("score.weight_v", {"score.weight_g": (1, 1), "score.weight_v": (1, 32)}),
        ("v_head.out", {"v_head.norm.weight": (32,), "v_head.out.weight": (1, 32)}),
    ],
    ids=["a norm between the layers", "a weight in two parts", "a norm before the layer"],
)
def test_a_head_that_is_more_than_its_linear_layers_is_refused(
    head: str, tensors: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    source = save_checkpoint(tmp_path / "source")

    def replace_head(weights: dict[str, Tensor]) -> None:
        del weights["score.weight"]
        weights |= {name: torch.ones(shape) for name, shape in tensors.items()}

    edit(source, replace_head)

    with pytest.raises(UnaccountedWeights, match=r"in one module with .* would be dropped"):
        converted(source, tmp_path / "ours", head=head)
    assert not (tmp_path / "ours").exists()


def test_a_layout_that_knows_its_head_takes_no_other(tmp_path: Path) -> None:
    source = renamed(tmp_path / "source", "regression_head.weight")
    read = partial(ConvertOptions, layout="openrlhf", role="safety")

    with pytest.raises(ConfigurationError, match="--from openrlhf knows its own"):
        convert(str(source), tmp_path / "ours", read(reading=ReadOptions(head="regression_head")))
