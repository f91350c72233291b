"""Every way that a checkpoint can be wrong is refused by name, before any of its code could run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rm_core.checkpoint.load import load_reward_model, resolve_directory, weights_digest
from rm_core.checkpoint.manifest import MANIFEST_NAME, RewardModelManifest, write_manifest
from rm_core.errors import (
    CheckpointError,
    CheckpointNotFound,
    DigestMismatch,
    InvalidManifest,
    MissingHead,
    UnsafeCheckpoint,
    WrongNumLabels,
    WrongRole,
)
from rm_core.text.contract import default_contract
from rm_core.types import Baseline, SafetyThreshold
from tests.adapters import save_base
from tests.models import make_tokenizer, save_checkpoint


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A sound checkpoint without reward_model.json."""
    return save_checkpoint(tmp_path / "foreign")


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A sound safety checkpoint with reward_model.json."""
    tokenizer = make_tokenizer(chat=True)
    directory = save_checkpoint(tmp_path / "ours", tokenizer=tokenizer)
    manifest = RewardModelManifest(
        role="safety",
        position=default_contract(tokenizer, max_length=300),
        temperature=2.0,
        bias=-0.5,
        baseline=Baseline(mean=0.25, std=1.5, weight=32.0),
        safety_threshold=SafetyThreshold(tau=0.3, how="by hand"),
    )
    write_manifest(directory, manifest)
    return directory


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_a_foreign_checkpoint_loads_with_the_default_contract(foreign: Path) -> None:
    loaded = load_reward_model(str(foreign), "safety")

    assert loaded.manifest is None
    assert loaded.profile.max_length == 640
    assert loaded.profile.digest == weights_digest(foreign)
    assert loaded.encoder.contract.rendering == "concatenate"


def test_a_checkpoint_of_ours_brings_its_contract_calibration_baseline_and_tau(ours: Path) -> None:
    profile = load_reward_model(str(ours), "safety").profile

    assert (profile.temperature, profile.bias, profile.tau) == (2.0, -0.5, 0.3)
    assert profile.baseline == Baseline(0.25, 1.5, 32.0)
    assert profile.max_length == 300


def test_a_setting_overrides_the_position_read(foreign: Path) -> None:
    loaded = load_reward_model(str(foreign), "safety", read="last_token")

    assert loaded.encoder.contract.read == "last_token"


def test_a_missing_directory_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFound, match="rewardd train"):
        resolve_directory(str(tmp_path / "nothing"))


def test_a_hub_name_that_can_not_be_fetched_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(name: str, **_: object) -> str:
        raise ConnectionError(name)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)

    with pytest.raises(CheckpointNotFound, match="someone/model"):
        resolve_directory("someone/model")


def test_a_hub_name_is_fetched_without_pickles_or_code(
    monkeypatch: pytest.MonkeyPatch, foreign: Path
) -> None:
    import huggingface_hub

    asked: list[Any] = []

    def fetch(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert revision is None
        asked.append((name, allow_patterns))
        return str(foreign)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)

    assert resolve_directory("someone/model") == foreign
    (name, patterns) = asked[0]
    assert name == "someone/model"
    assert not any(pattern.endswith((".py", ".bin", "*")) for pattern in patterns)


def test_a_directory_without_a_config_is_not_found(foreign: Path) -> None:
    (foreign / "config.json").unlink()

    with pytest.raises(CheckpointNotFound, match=r"config\.json"):
        load_reward_model(str(foreign), "safety")


def test_a_directory_without_weights_is_not_found(foreign: Path) -> None:
    (foreign / "model.safetensors").unlink()

    with pytest.raises(CheckpointNotFound, match=r"no \*\.safetensors"):
        load_reward_model(str(foreign), "safety")


def test_pickled_weights_alone_are_unsafe_and_are_not_opened(foreign: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (canary,))

    (foreign / "model.safetensors").unlink()
    torch.save({"score.weight": Bomb()}, foreign / "pytorch_model.bin")

    with pytest.raises(UnsafeCheckpoint, match=r"pytorch_model\.bin"):
        load_reward_model(str(foreign), "safety")
    assert not canary.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("auto_map", {"AutoModelForSequenceClassification": "evil.Model"}),
        ("trust_remote_code", True),
        ("_attn_implementation", "someone/kernel"),
        ("_attn_implementation_internal", "someone/kernel"),
    ],
)
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_config_that_asks_for_code_is_unsafe(
    foreign: Path, file: str, key: str, value: object
) -> None:
    (foreign / "evil.py").write_text("raise SystemExit('ran')")
    edit_json(foreign / file, lambda config: config.update({key: value}))

    with pytest.raises(UnsafeCheckpoint, match=key):
        load_reward_model(str(foreign), "safety")


def test_two_labels_are_refused_with_their_number(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, num_labels=2)

    with pytest.raises(WrongNumLabels, match="2 labels"):
        load_reward_model(str(tmp_path), "safety")


def test_weights_without_a_head_are_refused_by_its_name(foreign: Path) -> None:
    weights = load_file(foreign / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, foreign / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(MissingHead, match=r"score\.weight"):
        load_reward_model(str(foreign), "safety")


def test_a_causal_language_model_has_no_head(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")

    with pytest.raises(MissingHead, match="rewardd train"):
        load_reward_model(str(base), "safety")


def test_a_head_under_another_architecture_is_found_by_its_shape(foreign: Path) -> None:
    edit_json(foreign / "config.json", lambda c: c.update(architectures=["LlamaForCausalLM"]))

    with pytest.raises(MissingHead, match=r"score\.weight \(1, 32\).*convert .* --head score"):
        load_reward_model(str(foreign), "safety")


def test_a_head_of_another_shape_is_refused(foreign: Path) -> None:
    weights = load_file(foreign / "model.safetensors")
    weights["score.weight"] = torch.zeros(1, 16)
    save_file(weights, foreign / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(CheckpointError):
        load_reward_model(str(foreign), "safety")


def test_truncated_weights_are_a_checkpoint_error(foreign: Path) -> None:
    path = foreign / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])

    with pytest.raises(CheckpointError, match="can't load"):
        load_reward_model(str(foreign), "safety")


def test_a_directory_without_a_tokenizer_is_refused(foreign: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (foreign / name).unlink()

    with pytest.raises(CheckpointError, match="tokenizer"):
        load_reward_model(str(foreign), "safety")


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_file_that_differs_from_the_manifest_is_refused(ours: Path, file: str) -> None:
    data = bytearray((ours / file).read_bytes())
    data[-2] ^= 1
    (ours / file).write_bytes(bytes(data))

    with pytest.raises((DigestMismatch, CheckpointError)):
        load_reward_model(str(ours), "safety")


def test_a_swapped_tokenizer_is_a_digest_mismatch(ours: Path) -> None:
    edit_json(ours / "tokenizer.json", lambda t: t["model"]["vocab"].update({"zzz": 300}))

    with pytest.raises(DigestMismatch, match=r"tokenizer\.json"):
        load_reward_model(str(ours), "safety")


def test_a_weight_file_that_the_manifest_does_not_know_is_refused(ours: Path) -> None:
    save_file({"score.weight": torch.zeros(1, 32)}, ours / "extra.safetensors")

    with pytest.raises(DigestMismatch, match="extra"):
        load_reward_model(str(ours), "safety")


def test_a_safety_model_is_not_taken_for_helpfulness(ours: Path) -> None:
    with pytest.raises(WrongRole, match="safety reward model"):
        load_reward_model(str(ours), "helpfulness")


@pytest.mark.parametrize(
    "change",
    [
        {"role": "kindness"},
        {"format_version": 99},
        {"head": "first_token"},
        {"temperature": 0.0},
        {"baseline": {"mean": 0, "std": 0, "weight": 1}},
        {"baseline": {"mean": 0}},
        {"safety_threshold": {"tau": 1.0, "how": ""}},
        {"position": None},
        {"surprise": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_invalid_manifest_is_refused(ours: Path, change: dict[str, Any]) -> None:
    edit_json(ours / MANIFEST_NAME, lambda manifest: manifest.update(change))

    with pytest.raises(InvalidManifest):
        load_reward_model(str(ours), "safety")


def test_a_manifest_that_is_no_json_is_refused(ours: Path) -> None:
    (ours / MANIFEST_NAME).write_text("{")

    with pytest.raises(InvalidManifest, match="JSON"):
        load_reward_model(str(ours), "safety")


def test_a_chat_template_other_than_the_trained_one_is_refused(ours: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["position"]["template_sha256"] = "0" * 64

    edit_json(ours / MANIFEST_NAME, change)

    with pytest.raises(CheckpointError, match="chat template"):
        load_reward_model(str(ours), "safety")
