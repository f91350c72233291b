"""Exactly what was asked for is trained, and what was trained is what is saved."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from rm_core.checkpoint.heads import head_of
from rm_core.errors import ConfigurationError, MissingHead
from tests.models import make_model
from training.config import TrainingConfig
from training.modeling import trainable
from training.modeling.reward_model import TrainableModel, disable_dropout, reward_model_from
from training.modeling.trainable import (
    check_trainable,
    export,
    freeze_lowest,
    prepare_for_training,
    quantisation_for,
    save_adapter,
)

IDS = torch.randint(5, 300, (3, 20), generator=torch.Generator().manual_seed(0))


def config_of(trainable: Any, **options: Any) -> TrainingConfig:
    return TrainingConfig(
        role="safety", data=("d",), base="b", output="o", trainable=trainable, **options
    )


def trained_names(model: Any) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def as_if_trained(started: TrainableModel) -> TrainableModel:
    """Moves every weight that takes gradients, as a training would."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in started.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return started


def rewards(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(input_ids=IDS).logits  # type: ignore[no-any-return]


def not_needed() -> TrainableModel:
    raise AssertionError("the base is loaded again for QLoRA alone")


def test_full_trains_every_weight_and_head_the_head_alone(start: TrainableModel) -> None:
    model = prepare_for_training(start, config_of("full")).model
    assert trained_names(model) == {name for name, _ in model.named_parameters()}

    model = prepare_for_training(start, config_of("head")).model
    assert trained_names(model) == {"score.weight"}


@pytest.mark.parametrize(
    ("architecture", "embeddings", "first", "second", "behind"),
    [
        ("llama", {"model.embed_tokens"}, "model.layers.0", "model.layers.1", "model.norm"),
        ("gpt2", {"transformer.wte", "transformer.wpe"}, "transformer.h.0", "transformer.h.1", ""),
        ("gpt_neox", {"gpt_neox.embed_in"}, "gpt_neox.layers.0", "gpt_neox.layers.1", ""),
        ("bert", {"bert.embeddings"}, "bert.encoder.layer.0", "bert.encoder.layer.1", "bert.pool"),
    ],
)
def test_freezing_the_lowest_layers_freezes_the_embeddings_and_nothing_above(
    architecture: str, embeddings: set[str], first: str, second: str, behind: str
) -> None:
    model = make_model(architecture)

    freeze_lowest(model, 1)

    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    below = (*embeddings, f"{first}.")
    assert frozen == {n for n, _ in model.named_parameters() if n.startswith(below)}
    assert all(any(name.startswith(part) for name in frozen) for part in below)
    above = trained_names(model)
    assert any(name.startswith(f"{second}.") for name in above)
    assert any(name.startswith(behind) for name in above)


def test_more_layers_than_there_are_cannot_be_frozen(start: TrainableModel) -> None:
    with pytest.raises(ConfigurationError, match=r"`freeze_layers` is 2, and the base has 1"):
        prepare_for_training(start, config_of("full", freeze_layers=2))


def test_frozen_layers_belong_to_full_training() -> None:
    with pytest.raises(ConfigurationError, match="freeze_layers"):
        config_of("lora", freeze_layers=1)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "bert", "deberta-v2"])
def test_lora_trains_an_adapter_on_every_linear_layer_of_the_trunk_and_what_stands_on_it_whole(
    architecture: str, start: TrainableModel
) -> None:
    bare = make_model(architecture)
    trunk, head = f"{bare.base_model_prefix}.", head_of(bare)
    linear = {
        name
        for name, module in bare.named_modules()
        if name.startswith(trunk) and module.__class__.__name__ in {"Linear", "Conv1D"}
    }
    on_trunk = {name for name, _ in bare.named_parameters() if not name.startswith(trunk)}

    model = prepare_for_training(replace(start, model=bare), config_of("lora", lora_rank=2)).model

    names = {name.removeprefix("base_model.model.") for name in trained_names(model)}
    adapters = {name for name in names if ".lora_" in name}
    assert {name.rpartition(".lora_")[0] for name in adapters} == linear
    whole = {name.replace("modules_to_save.default.", "") for name in names - adapters}
    assert whole == on_trunk
    assert model.get_base_model() is bare
    assert head_of(bare) is not head  # peft trains a copy
    assert head_of(bare).weight.requires_grad


def test_lora_targets_can_be_chosen_and_are_never_the_head(start: TrainableModel) -> None:
    chosen = config_of("lora", lora_target_modules=("q_proj",))
    with pytest.raises(ConfigurationError, match="names score; the trunk's linear layers are"):
        prepare_for_training(start, config_of("lora", lora_target_modules=("q_proj", "score")))

    names = trained_names(prepare_for_training(start, chosen).model)

    assert {name.split(".")[-4] for name in names if ".lora_" in name} == {"q_proj"}


def test_a_fresh_adapter_changes_no_reward(start: TrainableModel) -> None:
    before = rewards(start.model)

    assert torch.equal(rewards(prepare_for_training(start, config_of("lora")).model), before)


def test_an_adapters_own_dropout_outlives_the_others(start: TrainableModel) -> None:
    model = prepare_for_training(start, config_of("lora", lora_dropout=0.25)).model

    disable_dropout(model)

    left = {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}
    assert left == {0.25}


def test_merged_rewards_are_those_of_base_and_adapter(start: TrainableModel) -> None:
    config = config_of("lora", lora_rank=4)
    trained = as_if_trained(prepare_for_training(start, config))
    before = rewards(trained.model)

    merged = export(trained, config, not_needed)

    assert merged.adapter is None
    assert torch.allclose(rewards(merged.model), before, atol=1e-5)
    assert not any("lora" in name for name, _ in merged.model.named_parameters())
    assert type(merged.model.score) is torch.nn.Linear
    assert not trained_names(merged.model)


def test_an_adapter_apart_from_its_base_gives_the_same_bits(start: TrainableModel) -> None:
    config = config_of("lora", merge_adapter=False)
    trained = as_if_trained(prepare_for_training(start, config))
    before = rewards(trained.model)

    apart = export(trained, config, not_needed)

    assert torch.equal(rewards(apart.model), before)
    assert type(apart.model.score) is torch.nn.Linear
    assert "base_model.model.score.weight" in apart.adapter.weights


@pytest.mark.parametrize("merge", [True, False])
def test_an_adapter_trained_on_four_bits_is_finished_on_the_base_in_float32(
    start: TrainableModel, tiny_base: Path, merge: bool
) -> None:
    # The base that it was trained on is made coarse here by hand, as bitsandbytes needs CUDA.
    trained = as_if_trained(prepare_for_training(start, config_of("lora", lora_rank=4)))
    expected = rewards(trained.model)
    with torch.no_grad():
        for name, parameter in trained.model.named_parameters():
            if "base_layer" in name:
                parameter.copy_(parameter.bfloat16())
    assert not torch.allclose(rewards(trained.model), expected, atol=1e-5)

    config = config_of("qlora", lora_rank=4, merge_adapter=merge)
    served = export(
        trained, config, lambda: reward_model_from(str(tiny_base), max_length=128, seed=3)
    )

    assert torch.allclose(rewards(served.model), expected, atol=1e-5)
    assert (served.adapter is None) == merge


def test_peft_reads_a_saved_adapter_and_finds_the_head_in_it(
    start: TrainableModel, tiny_base: Path, tmp_path: Path
) -> None:
    config = config_of("lora", merge_adapter=False)
    trained = export(as_if_trained(prepare_for_training(start, config)), config, not_needed)
    expected = rewards(trained.model)

    save_adapter(trained.adapter, trained, tmp_path)

    base = reward_model_from(str(tiny_base), max_length=128, seed=9)
    loaded = PeftModel.from_pretrained(base.model, tmp_path)
    assert torch.equal(rewards(loaded), expected)
    assert loaded.peft_config["default"].base_model_name_or_path == str(tiny_base.resolve())
    assert loaded.peft_config["default"].task_type == "SEQ_CLS"


def test_an_adapter_without_its_head_is_noticed_when_it_is_saved(
    start: TrainableModel, tmp_path: Path
) -> None:
    config = config_of("lora", merge_adapter=False)
    trained = export(prepare_for_training(start, config), config, not_needed)
    headless = {name: w for name, w in trained.adapter.weights.items() if "score" not in name}

    with pytest.raises(MissingHead, match="score"):
        save_adapter(replace(trained.adapter, weights=headless), trained, tmp_path)


def test_an_encoders_adapter_is_published_merged(start: TrainableModel) -> None:
    encoder = replace(start, model=make_model("bert"))
    with pytest.raises(ConfigurationError, match="leave `merge_adapter` on"):
        prepare_for_training(encoder, config_of("lora", merge_adapter=False))

    config = config_of("lora")
    trained = as_if_trained(prepare_for_training(encoder, config))
    before = rewards(trained.model)
    assert torch.allclose(rewards(export(trained, config, not_needed).model), before, atol=1e-5)


def test_a_head_on_layers_that_were_drawn_is_not_trained_alone(
    start: TrainableModel,
) -> None:
    lacking = replace(start, random=("bert.pooler.dense.weight",))

    with pytest.raises(ConfigurationError, match="between trunk and head"):
        prepare_for_training(lacking, config_of("head"))


def test_qlora_without_cuda_or_bitsandbytes_is_refused_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigurationError, match="needs a CUDA device"):
        check_trainable(config_of("qlora"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(trainable, "find_spec", lambda name: name != "bitsandbytes" or None)
    with pytest.raises(ConfigurationError, match=r"rewardd\[qlora\]"):
        check_trainable(config_of("qlora"))
    monkeypatch.setattr(trainable, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"rewardd\[lora\]"):
        check_trainable(config_of("lora"))
    check_trainable(config_of("full"))


def test_only_qlora_asks_for_four_bits() -> None:
    assert quantisation_for(config_of("lora")) is None
    asked = quantisation_for(config_of("qlora"))
    assert (asked.load_in_4bit, asked.bnb_4bit_quant_type) == (True, "nf4")
    assert "score" in asked.llm_int8_skip_modules
