"""Every way that an adapter can be wrong is refused by name, before a library reads it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rm_core.checkpoint.adapters import WEIGHTS
from rm_core.checkpoint.load import load_reward_model
from rm_core.errors import (
    CheckpointError,
    CheckpointNotFound,
    MissingHead,
    UnsafeCheckpoint,
    WrongNumLabels,
)
from tests.adapters import edit_config, edit_weights, save_base
from tests.models import save_checkpoint


def test_an_adapter_without_its_head_is_refused_by_name(adapter: Path) -> None:
    """As trl#1379 saved it: the head was trained, and not in modules_to_save."""
    edit_weights(adapter, lambda weights: weights.pop("base_model.model.score.weight"))

    with pytest.raises(MissingHead, match=r"score\.weight.*SEQ_CLS"):
        load_reward_model(str(adapter), "safety")


def test_a_head_with_two_labels_is_refused(adapter: Path) -> None:
    edit_weights(adapter, lambda w: w.update({"base_model.model.score.weight": torch.zeros(2, 32)}))

    with pytest.raises(WrongNumLabels, match="2 labels"):
        load_reward_model(str(adapter), "safety")


def test_pickled_adapter_weights_are_unsafe_and_are_not_opened(
    adapter: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (canary,))

    (adapter / WEIGHTS).unlink()
    torch.save({"x": Bomb()}, adapter / "adapter_model.bin")

    with pytest.raises(UnsafeCheckpoint, match=r"adapter_model\.bin"):
        load_reward_model(str(adapter), "safety")
    assert not canary.exists()


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"auto_map": {"x": "evil.X"}}, UnsafeCheckpoint, "auto_map"),
        ({"auto_mapping": {"parent_library": "evil.model"}}, UnsafeCheckpoint, r"evil\.model"),
        (
            {"auto_mapping": {"parent_library": "transformers_modules.x"}},
            UnsafeCheckpoint,
            "auto_mapping",
        ),
        (
            {"megatron_config": {"a": 1}, "megatron_core": "evil.core"},
            UnsafeCheckpoint,
            r"evil\.core",
        ),
        ({"peft_type": "IA3"}, CheckpointError, "IA3.*merge"),
        ({"peft_type": None}, CheckpointError, "None.*merge"),
        ({"init_lora_weights": "pissa"}, CheckpointError, "pissa.*merge"),
        ({"bias": "lora_only"}, CheckpointError, "bias.*merge"),
        ({"layer_replication": [[0, 1], [0, 1]]}, CheckpointError, "layer_replication"),
        ({"alora_invocation_tokens": [1]}, CheckpointError, "alora_invocation_tokens"),
        ({"a_later_invention": True}, CheckpointError, "a_later_invention"),
        ({"modules_to_save": 5}, CheckpointError, "modules_to_save"),
        ({"target_modules": ["nothing_here"]}, CheckpointError, "target_modules"),
        ({"r": "many"}, CheckpointError, "peft can't put"),
        ({"r": 3}, CheckpointError, "peft can't put"),
        ({"base_model_name_or_path": None}, CheckpointNotFound, "base_model_name_or_path"),
        ({"base_model_name_or_path": "/nowhere"}, CheckpointNotFound, "/nowhere.*set base"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_config_that_can_not_be_served_is_refused_by_name(
    adapter: Path, changes: dict[str, Any], error: type[CheckpointError], told: str
) -> None:
    edit_config(adapter, **changes)

    with pytest.raises(error, match=f"(?s){told}") as caught:
        load_reward_model(str(adapter), "safety")
    assert type(caught.value) is error


@pytest.mark.parametrize("library", ["transformers.models.llama.modeling_llama", "transformers"])
def test_pefts_own_mapping_to_transformers_is_no_code(adapter: Path, library: str) -> None:
    edit_config(
        adapter,
        auto_mapping={"base_model_class": "LlamaForSequenceClassification"}
        | {"parent_library": library},
    )

    assert load_reward_model(str(adapter), "safety").base is not None


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.model.embed_tokens.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight",
        "base_model.model.model.embed_tokens.lora_embedding_A",
    ],
)
def test_weights_of_the_base_in_an_adapter_are_refused(adapter: Path, name: str) -> None:
    """peft would write them over the base's, which the other role reads too."""
    edit_weights(adapter, lambda weights: weights.update({name: torch.zeros(320, 32)}))

    with pytest.raises(CheckpointError, match="merge"):
        load_reward_model(str(adapter), "safety")


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.pop("base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight"),
        lambda w: w.update({"base_model.model.model.layers.9.x.lora_B.weight": torch.zeros(3)}),
    ],
    ids=["one too few", "one too many"],
)
def test_weights_that_do_not_fit_the_base_are_refused(adapter: Path, change: Any) -> None:
    edit_weights(adapter, change)

    with pytest.raises(CheckpointError, match="only one of them"):
        load_reward_model(str(adapter), "safety")


def test_truncated_adapter_weights_are_a_checkpoint_error(adapter: Path) -> None:
    path = adapter / WEIGHTS
    path.write_bytes(path.read_bytes()[:100])

    with pytest.raises(CheckpointError, match="damaged"):
        load_reward_model(str(adapter), "safety")


def test_an_adapter_without_weights_is_not_found(adapter: Path) -> None:
    (adapter / WEIGHTS).unlink()

    with pytest.raises(CheckpointNotFound, match="adapter_model"):
        load_reward_model(str(adapter), "safety")


def test_an_adapter_among_full_weights_is_ambiguous(adapter: Path, base: Path) -> None:
    (adapter / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes())

    with pytest.raises(CheckpointError, match="keep one"):
        load_reward_model(str(adapter), "safety")


def test_an_adapter_on_an_adapter_is_refused(adapter: Path, base: Path) -> None:
    """transformers would follow the inner one to a base that nobody has inspected."""
    (base / "adapter_config.json").write_text((adapter / "adapter_config.json").read_text())

    with pytest.raises(CheckpointError, match="full checkpoint is needed"):
        load_reward_model(str(adapter), "safety")


def test_a_base_is_inspected_as_every_checkpoint_is(adapter: Path, base: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "auto_map": {"x": "evil.X"}}))

    with pytest.raises(UnsafeCheckpoint, match="auto_map"):
        load_reward_model(str(adapter), "safety")


def test_a_base_with_two_labels_is_refused(adapter: Path, tmp_path: Path) -> None:
    two = save_checkpoint(tmp_path / "two", num_labels=2)
    edit_config(adapter, base_model_name_or_path=str(two))

    with pytest.raises(WrongNumLabels, match="2 labels"):
        load_reward_model(str(adapter), "safety")


def test_a_base_of_another_size_is_refused(adapter: Path, tmp_path: Path) -> None:
    wide = save_base(tmp_path / "wide", hidden_size=64)
    edit_config(adapter, base_model_name_or_path=str(wide))

    with pytest.raises(CheckpointError, match="peft can't put"):
        load_reward_model(str(adapter), "safety")


def test_the_base_on_the_hub_is_fetched_at_the_revision_that_was_trained_on(
    adapter: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[Any] = []

    def fetch(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision))
        return str(base)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    edit_config(adapter, base_model_name_or_path="someone/base", revision="abc")

    loaded = load_reward_model(str(adapter), "safety")

    assert asked == [("someone/base", "abc")]
    assert loaded.base == "someone/base"
