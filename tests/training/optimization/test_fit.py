"""What is published scores as what was trained, whatever of it was trained."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaForCausalLM

from rm_core.checkpoint.load import load_reward_model
from rm_core.checkpoint.manifest import verify_files
from rm_core.engine import load_engine
from rm_core.types import Dialogue, Role
from tests.rewards import own_rewards
from tests.training.samples import preference_rows, write_jsonl
from training import pipeline
from training.config import TrainingConfig
from training.data.formats import read_records
from training.data.options import DataOptions
from training.data.prepare import prepare_data
from training.evaluation import score_examples
from training.optimization import fit as fitting
from training.optimization.fit import Fitted
from training.pipeline import TrainingResult, run_directory, train_reward_model

LORA: dict[str, Any] = {"trainable": "lora", "lora_rank": 4}
WAYS: dict[str, dict[str, Any]] = {
    "full": {"trainable": "full", "learning_rate": 3e-3},
    "frozen layers": {"trainable": "full", "freeze_layers": 1},
    "head": {"trainable": "head", "learning_rate": 3e-2},
    "merged": LORA,
    "adapter": {**LORA, "merge_adapter": False},
    "mean head": {"head": "mean", "learning_rate": 3e-3},
    "per-token head": {
        "head": "per_token",
        "objectives": {"bradley_terry": 1.0, "token_bradley_terry": 1.0},
        "learning_rate": 3e-3,
    },
}


def config_of(base: Path, output: Path, role: Role = "safety", **options: Any) -> TrainingConfig:
    data = write_jsonl(output.with_suffix(".jsonl"), preference_rows(32))
    settings = {
        "max_length": 128,
        "epochs": 6.0,
        "learning_rate": 1e-2,
        "batch_size": 4,
        "gradient_accumulation": 1,
        "calibration": "none",
        "report": False,
        **options,
    }
    return TrainingConfig(
        role=role, data=(str(data),), base=str(base), output=str(output), **settings
    )


@pytest.fixture(scope="module", params=WAYS)
def way(
    request: pytest.FixtureRequest, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainingConfig, TrainingResult, Fitted]:
    """A training of each kind, and the model that it left in memory."""
    tmp_path = tmp_path_factory.mktemp("way")
    left: list[Fitted] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "fit", lambda *a, **k: left.append(fitting.fit(*a, **k)) or left[0])
        config = config_of(tiny_base, tmp_path / "out", **WAYS[request.param])
        result = train_reward_model(config)
    return config, result, left[0]


def test_what_is_loaded_scores_to_the_bit_as_what_was_trained(
    way: tuple[TrainingConfig, TrainingResult, Fitted],
) -> None:
    config, result, fitted = way
    loaded = load_reward_model(config.output, "safety")
    data = prepare_data(
        read_records([Path(config.data[0])]), loaded.encoder, DataOptions(role="safety")
    )
    how: dict[str, Any] = {"pad_token_id": fitted.trained.pad_token_id, "head": config.head}

    found = score_examples(loaded.model, data.heldout, **how)

    assert found == score_examples(fitted.trained.model, data.heldout, **how)
    flat = np.array([value for given in found for value in given])
    # Measured on cached states the head alone gives the same but for rounding.
    tolerance = 1e-5 if config.trainable == "head" else 0.0
    assert flat.mean().item() == pytest.approx(result.figures.reward_mean, abs=tolerance)
    assert result.figures.pairs.accuracy.value >= 0.9  # it has learned what can be learned
    verify_files(Path(config.output), result.manifest)
    assert loaded.encoder.contract == fitted.trained.encoder.contract


def test_the_head_is_in_the_file_by_the_name_that_everyone_reads(
    way: tuple[TrainingConfig, TrainingResult, Fitted],
) -> None:
    config, _, fitted = way
    output = Path(config.output)
    adapter = (output / "adapter_config.json").is_file()
    assert adapter == (not config.merge_adapter)
    name = "adapter_model" if adapter else "model"
    key = "base_model.model.score.weight" if adapter else "score.weight"
    with safe_open(output / f"{name}.safetensors", framework="pt") as file:
        assert torch.equal(file.get_tensor(key), fitted.trained.model.score.weight)
    if not adapter:
        config_json = json.loads((output / "config.json").read_text())
        assert config_json["num_labels"] == 1
        assert config_json["architectures"] == ["LlamaForSequenceClassification"]
        plain, loading = AutoModelForSequenceClassification.from_pretrained(
            output, output_loading_info=True
        )
        assert not loading["missing_keys"]
        assert not loading["unexpected_keys"]
        assert type(plain.score) is torch.nn.Linear


def test_the_cards_lines_of_python_give_the_served_reward(
    way: tuple[TrainingConfig, TrainingResult, Fitted],
) -> None:
    config, _, _ = way
    card = (Path(config.output) / "README.md").read_text()
    if config.head == "mean":  # which plain transformers does not read, and the card says so
        assert "```python" not in card
        assert "rewardd serve" in card
        return
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
    names: dict[str, Any] = {"directory": config.output, "messages": messages}

    exec(card.split("```python\n")[1].split("```")[0], names)  # as a reader would paste it

    engine = load_engine({"safety": config.output})
    (served,) = own_rewards(engine, [engine.encode(Dialogue("Why?", "Because."))])
    assert names["reward"].item() == pytest.approx(served["safety"], abs=1e-5)


def test_what_was_not_to_be_trained_is_the_bases_to_the_bit(
    tiny_base: Path, tmp_path: Path
) -> None:
    config = config_of(tiny_base, tmp_path / "out", trainable="full", freeze_layers=1)
    train_reward_model(config)

    trained = load_reward_model(config.output, "safety").model.base_model.state_dict()

    base = LlamaForCausalLM.from_pretrained(tiny_base).base_model.state_dict()
    changed = {name for name in base if not torch.equal(base[name], trained[name])}
    assert changed == {"norm.weight"}


def test_two_heads_trained_on_one_base_are_served_from_one_trunk(
    tiny_base: Path, tmp_path: Path
) -> None:
    outputs = {}
    for seed, role in enumerate(("safety", "helpfulness")):
        config = config_of(tiny_base, tmp_path / role, role, trainable="head", seed=seed)
        train_reward_model(config)
        outputs[role] = config.output

    engine = load_engine(outputs)

    assert engine.describe()["safety"]["shares_trunk_with"] == ["helpfulness"]
    dialogue = Dialogue("Tell me about maps.", "Gladly: maps are fine.")
    (both,) = own_rewards(engine, [engine.encode(dialogue)])
    for role, output in outputs.items():
        alone = load_engine({role: output})
        (own,) = own_rewards(alone, [alone.encode(dialogue)])
        assert both[role] == pytest.approx(own[role], abs=1e-6)
    assert both["safety"] != both["helpfulness"]


def test_two_adapters_on_one_base_share_its_weights_in_the_server(
    tiny_base: Path, tmp_path: Path
) -> None:
    outputs = {}
    for role in ("safety", "helpfulness"):
        config = config_of(tiny_base, tmp_path / role, role, epochs=1.0, **WAYS["adapter"])
        train_reward_model(config)
        outputs[role] = config.output

    described = load_engine(outputs).describe()

    assert described["safety"]["adapter"]
    assert described["safety"]["shares_base_with"] == ["helpfulness"]


def test_an_adapter_is_read_where_it_was_trained_though_its_base_pads_with_eos(
    tiny_base: Path, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    tokenizer.pad_token = tokenizer.eos_token
    base = LlamaForCausalLM.from_pretrained(tiny_base)
    base.config.pad_token_id = tokenizer.eos_token_id
    base.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    config = config_of(tmp_path / "base", tmp_path / "out", epochs=1.0, **WAYS["adapter"])
    train_reward_model(config)

    encoded = load_reward_model(config.output, "safety").encoder.encode(Dialogue("Why?", "So."))

    assert encoded.input_ids[encoded.read_position] == tokenizer.eos_token_id
    assert encoded.read_position == encoded.num_tokens - 1


def test_a_second_run_into_the_same_place_does_not_run_the_trunk_again(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tiny_base, tmp_path / "out", trainable="head", epochs=1.0)
    first = train_reward_model(config)
    from training.batches import cached_states

    def run_again(*_: Any, **__: Any) -> Any:
        raise AssertionError("the states are there")

    monkeypatch.setattr(cached_states, "choose_forward", run_again)
    second = train_reward_model(replace(config, learning_rate=1e-3, overwrite=True))

    assert second.manifest.files["model.safetensors"] != first.manifest.files["model.safetensors"]
    assert len(list(run_directory(Path(config.output)).glob("hidden-states-*"))) == 1


@pytest.mark.parametrize(
    ("way", "saved_weights", "most_bytes"),
    [
        ({"trainable": "head"}, "model.safetensors", 10_000),
        (LORA, "adapter_model.safetensors", 50_000),
    ],
    ids=["head", "lora"],
)
def test_what_is_trained_alone_is_saved_alone_and_resumed_as_every_training_is(
    tiny_base: Path, tmp_path: Path, way: dict[str, Any], saved_weights: str, most_bytes: int
) -> None:
    whole = config_of(tiny_base, tmp_path / "whole", epochs=2.0, save_steps=4, **way)
    result = train_reward_model(whole)
    (tmp_path / "again.run").mkdir()
    saved = min(run_directory(Path(whole.output)).glob("checkpoint-*"))
    assert [path.name for path in saved.glob("*model.safetensors")] == [saved_weights]
    assert (saved / saved_weights).stat().st_size < most_bytes
    saved.rename(tmp_path / "again.run" / saved.name)

    again = train_reward_model(replace(whole, output=str(tmp_path / "again"), resume=True))

    weights = "model.safetensors"
    assert again.manifest.files[weights] == result.manifest.files[weights]
