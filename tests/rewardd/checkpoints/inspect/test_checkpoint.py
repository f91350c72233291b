"""What a checkpoint is, and every known way for it to be unsound."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rewardd.checkpoints.convert.run import ConvertOptions, convert
from rewardd.checkpoints.inspect.checkpoint import inspect_checkpoint
from rewardd.checkpoints.inspect.report import Inspection
from rm_core.checkpoint.manifest import RewardModelManifest, write_manifest
from rm_core.text.contract import default_contract
from rm_core.types import Baseline
from tests.adapters import save_adapter, save_base
from tests.models import EOS, PAD, make_tokenizer, save_checkpoint
from tests.rewardd.checkpoints.convert import foreign


def codes(inspection: Inspection, severity: str = "problem") -> set[str]:
    return {found.code for found in inspection.findings if found.severity == severity}


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(directory: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = directory / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A sound reward model for plain transformers."""
    return save_checkpoint(tmp_path / "plain")


def test_a_plain_reward_model_is_sound_and_its_position_is_assumed(plain: Path) -> None:
    found = inspect_checkpoint(str(plain))

    assert found.sound
    assert found.kind == "reward model for plain transformers"
    assert found.architecture == "LlamaForSequenceClassification"
    assert found.texts is not None
    assert found.texts.position["read"] == "last_non_pad"
    assert found.texts.known_from.startswith("assumed")
    assert (found.texts.pad_token_id, found.texts.eos_token_id) == (PAD, EOS)
    assert found.path is not None
    assert found.path["path"] == "packed"


def test_numbers_are_counted_as_they_are_saved(plain: Path) -> None:
    weights = load_file(plain / "model.safetensors")

    found = inspect_checkpoint(str(plain), load=False)

    assert found.weights is not None
    assert found.weights.parameters == sum(tensor.numel() for tensor in weights.values())
    assert found.weights.dtypes == {"float32": found.weights.parameters}
    assert not found.weights.finite_checked
    assert found.head is not None
    assert found.head.shape == (1, 32)
    assert found.head.std == pytest.approx(float(weights["score.weight"].std()))
    assert found.path is None


def test_a_checkpoint_of_ours_tells_what_its_manifest_holds(plain: Path) -> None:
    manifest = RewardModelManifest(
        role="safety",
        position=default_contract(make_tokenizer(), max_length=300),
        temperature=2.0,
        baseline=Baseline(0.5, 1.5, 32.0),
        data={"fingerprint": "f" * 64},
        training={"objective": "hinge"},
    )
    write_manifest(plain, manifest)

    found = inspect_checkpoint(str(plain))

    assert found.sound
    assert found.kind == "reward model of rewardd"
    assert found.digests == "verified"
    assert found.texts is not None
    assert found.texts.known_from == "reward_model.json"
    assert found.manifest is not None
    assert found.manifest["temperature"] == 2.0
    assert found.manifest["training"] == {"objective": "hinge"}


def test_a_head_that_averages_is_as_sound_as_one_that_reads_one_token(plain: Path) -> None:
    contract = default_contract(make_tokenizer(), max_length=300)
    write_manifest(plain, RewardModelManifest(role="safety", position=contract, head="mean"))

    found = inspect_checkpoint(str(plain))

    assert found.sound
    assert found.manifest is not None
    assert found.manifest["head"] == "mean"


def test_a_file_that_changed_after_the_manifest_is_a_problem(plain: Path) -> None:
    contract = default_contract(make_tokenizer(), max_length=300)
    write_manifest(plain, RewardModelManifest(role="safety", position=contract))
    edit_weights(plain, lambda weights: weights["score.weight"].add_(1.0))

    found = inspect_checkpoint(str(plain))

    assert found.digests == "failed"
    assert "digest_mismatch" in codes(found)


FOREIGN: dict[str, tuple[Callable[[Path], foreign.Foreign], str]] = {
    "llama-factory": (foreign.llama_factory, "value-head checkpoint of LLaMA-Factory"),
    "trl": (foreign.trl, "value-head checkpoint of TRL"),
    "openrlhf": (foreign.openrlhf, "reward model of OpenRLHF"),
}


@pytest.mark.parametrize("layout", FOREIGN)
def test_foreign_layouts_are_told_with_the_position_they_read(layout: str, tmp_path: Path) -> None:
    build, kind = FOREIGN[layout]
    source = build(tmp_path / "source")

    found = inspect_checkpoint(str(source.directory))

    assert found.sound
    assert (found.layout, found.kind) == (layout, kind)
    assert found.texts is not None
    assert found.texts.position["read"] == "last_token"
    assert "convert_first" in codes(found, "note")


def test_what_convert_writes_is_sound(tmp_path: Path) -> None:
    source = foreign.llama_factory(tmp_path / "source")
    convert(str(source.directory), tmp_path / "ours", ConvertOptions(role="safety"))

    found = inspect_checkpoint(str(tmp_path / "ours"))

    assert found.sound
    assert found.head is not None
    assert found.head.bias == 1.5
    assert not codes(found, "warning")


def test_a_language_model_has_no_head(tmp_path: Path) -> None:
    found = inspect_checkpoint(str(save_base(tmp_path / "base")))

    assert found.kind == "causal language model without a reward head"
    assert codes(found) == {"missing_head"}


def test_a_reward_adapter_names_its_base(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    adapter = save_adapter(tmp_path / "adapter", base, seed=1, tokenizer=make_tokenizer())

    found = inspect_checkpoint(str(adapter))

    assert found.sound
    assert found.kind.endswith("a LoRA adapter")
    assert found.base == str(base)
    assert found.head is not None


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    source = foreign.deepspeed_chat(tmp_path / "pickled")

    found = inspect_checkpoint(str(source.directory))

    assert found.kind == "pickled weights, not opened"
    assert codes(found) == {"unsafe_checkpoint"}


def nan_in_a_layer(directory: Path) -> None:
    edit_weights(directory, lambda w: w["model.layers.0.mlp.up_proj.weight"][0].fill_(float("nan")))


def zero_head(directory: Path) -> None:
    edit_weights(directory, lambda w: w["score.weight"].zero_())


def no_head(directory: Path) -> None:
    edit_weights(directory, lambda w: w.pop("score.weight"))


def two_labels(directory: Path) -> None:
    edit_json(directory / "config.json", num_labels=2)


def tokenizer_too_large(directory: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([f"<{i}>" for i in range(100)])
    tokenizer.save_pretrained(directory)


def broken_manifest(directory: Path) -> None:
    (directory / "reward_model.json").write_text("{")


def cut_weights(directory: Path) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (nan_in_a_layer, "not_finite"),
        (zero_head, "head_is_zero"),
        (no_head, "missing_head"),
        (two_labels, "wrong_num_labels"),
        (tokenizer_too_large, "vocabulary_too_large"),
        (broken_manifest, "invalid_manifest"),
        (cut_weights, "checkpoint_error"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_what_makes_it_unfit_to_serve_is_a_problem(
    damage: Callable[[Path], None], code: str, plain: Path
) -> None:
    damage(plain)

    found = inspect_checkpoint(str(plain))

    assert not found.sound
    assert code in codes(found)
    json.dumps(found.to_json(), allow_nan=False)


def test_an_empty_directory_is_no_model(tmp_path: Path) -> None:
    found = inspect_checkpoint(str(tmp_path))

    assert found.kind == "no model directory"
    assert "no_weights" in codes(found)
