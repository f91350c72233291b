"""Loading a reward model from a directory or a hub name, and refusing every unsound one by name.

Weights come from safetensors only and no code of the checkpoint ever runs: the files are inspected
before transformers sees them. This module is where transformers' loading errors become ours.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rm_core.errors import (
    CheckpointError,
    CheckpointNotFound,
    MissingHead,
    UnsafeCheckpoint,
    WrongNumLabels,
    WrongRole,
)
from rm_core.manifest import RewardModelManifest, file_digest, read_manifest, verify_files
from rm_core.text import PositionContract, ReadRule, TextEncoder, default_contract
from rm_core.types import ModelProfile, Role

ALLOWED_HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
"""What a hub download may bring: weights, configuration, tokenizer; never code or pickles."""

PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack", "*.gguf")
FORBIDDEN_CONFIG_KEYS = ("auto_map", "trust_remote_code", "custom_pipelines")
DEFAULT_MAX_LENGTH = 4096
"""The limit for models that state none, or an absurd one."""


@dataclass(frozen=True, slots=True)
class RewardModel:
    """A loaded checkpoint, before the engine decides how to run it.

    Attributes:
        model: transformers' sequence-classification model, in eval mode on its device.
        encoder: text → ids by the position contract.
        profile: what the reward mathematics needs.
        manifest: reward_model.json; None for a foreign checkpoint.
    """

    model: Any
    encoder: TextEncoder
    profile: ModelProfile
    manifest: RewardModelManifest | None


def load_reward_model(
    name: str,
    role: Role,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    read: ReadRule | None = None,
) -> RewardModel:
    """Load a reward model for a role.

    Args:
        name: a directory, or a name on the hub (fetched unless HF_HUB_OFFLINE is set).
        role: what it will serve as; a manifest that says otherwise is an error.
        device: where the weights go.
        dtype: of the trunk; the head is always evaluated in float32.
        read: overrides the position that the head reads.

    Raises:
        CheckpointError: one subclass for each way that a checkpoint can be wrong.
    """
    directory = resolve_directory(name)
    config = inspect_files(directory)
    manifest = read_manifest(directory)
    if manifest is not None:
        verify_files(directory, manifest)
        if manifest.role != role:
            raise WrongRole(
                f"{name} is a {manifest.role} reward model, but it was given as the {role} model"
            )
    _check_labels(name, config)
    model = _load_model(name, directory, dtype).to(device).eval()
    tokenizer = _load_tokenizer(name, directory)
    contract = _contract(tokenizer, model.config, manifest)
    if read is not None:
        contract = replace(contract, read=read)
    encoder = TextEncoder(
        tokenizer, contract, pad_token_id=model.config.get_text_config().pad_token_id
    )
    return RewardModel(
        model, encoder, _profile(name, role, directory, contract, manifest), manifest
    )


def resolve_directory(name: str) -> Path:
    """The local directory of a checkpoint, fetched from the hub where it is a hub name.

    Raises:
        CheckpointNotFound: neither a directory nor a model that the hub can give.
    """
    directory = Path(name)
    if directory.is_dir():
        return directory
    if directory.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise CheckpointNotFound(f"there is no directory {name}; train one with `rewardd train`")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(ALLOWED_HUB_FILES)))
    except Exception as error:
        raise CheckpointNotFound(
            f"{name} is no directory here and could not be fetched from the hub "
            f"({type(error).__name__}); check the name, the network, or train one with "
            "`rewardd train`"
        ) from error


def inspect_files(directory: Path) -> dict[str, Any]:
    """Look at a checkpoint's files before any library loads them.

    Returns:
        The content of config.json.

    Raises:
        CheckpointNotFound: no config.json, or no weights at all.
        UnsafeCheckpoint: only pickled weights, or a config that asks for code.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise CheckpointNotFound(f"{directory} has no config.json, so it is no model directory")
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} must hold a JSON object")
    _refuse_code(path, config)
    tokenizer_config = directory / "tokenizer_config.json"
    if tokenizer_config.is_file():
        _refuse_code(tokenizer_config, json.loads(tokenizer_config.read_text()))
    if not any(directory.glob("*.safetensors")):
        pickled = sorted(path.name for pattern in PICKLED for path in directory.glob(pattern))
        if pickled:
            raise UnsafeCheckpoint(
                f"{directory} has weights only as {', '.join(pickled)}; unpickling can run code, "
                "so rewardd loads safetensors only. Convert them with transformers' "
                "save_pretrained where you trust the file"
            )
        raise CheckpointNotFound(f"{directory} has a config.json but no *.safetensors weights")
    return config


def _refuse_code(path: Path, config: dict[str, Any]) -> None:
    asked = [key for key in FORBIDDEN_CONFIG_KEYS if config.get(key)]
    # A slash names a kernel repository on the hub, whose code would run (CVE-2026-4372).
    asked += [
        key
        for key, value in config.items()
        if "attn_implementation" in key and isinstance(value, str) and "/" in value
    ]
    if asked:
        raise UnsafeCheckpoint(
            f"{path} asks for code of its own ({', '.join(asked)}); rewardd runs no remote code"
        )


def _check_labels(name: str, config: dict[str, Any]) -> None:
    architectures = config.get("architectures") or []
    if not any(a.endswith("ForSequenceClassification") for a in architectures):
        raise MissingHead(
            f"{name} is {', '.join(architectures) or 'of no named architecture'}, not a sequence "
            "classification model, so it has no reward head; train one on it with `rewardd train`"
        )
    num_labels = len(config.get("id2label") or {0: "", 1: ""})
    if "num_labels" in config:
        num_labels = config["num_labels"]
    if num_labels != 1:
        raise WrongNumLabels(
            f"{name} has {num_labels} labels; a reward model has exactly 1 (num_labels: 1)"
        )


def _load_model(name: str, directory: Path, dtype: torch.dtype) -> Any:
    try:
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            directory,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            dtype=dtype,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"transformers can't load {name}: {error}") from error
    missing = sorted(loading["missing_keys"])
    if missing:
        raise MissingHead(
            f"{name} lacks the weights {', '.join(missing[:5])}, which would be random; "
            "a reward model's head must be trained and saved with it"
        )
    mismatched = sorted(str(key[0]) for key in loading.get("mismatched_keys") or ())
    if mismatched:
        raise CheckpointError(
            f"{name}: {', '.join(mismatched[:5])} differ in shape from the config"
        )
    return model


def _load_tokenizer(name: str, directory: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(
            directory, use_fast=True, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:
        raise CheckpointError(
            f"{name} has no tokenizer that transformers can load "
            f"({type(error).__name__}: {error}); save the tokenizer beside the weights"
        ) from error


def _contract(
    tokenizer: Any, config: Any, manifest: RewardModelManifest | None
) -> PositionContract:
    limit = model_max_length(config, tokenizer)
    if manifest is None:
        return default_contract(tokenizer, max_length=limit)
    position = manifest.position
    default = default_contract(tokenizer, max_length=limit)
    if position.rendering == "chat" and position.template_sha256 != default.template_sha256:
        raise CheckpointError(
            "the tokenizer's chat template is not the one that the model was trained with "
            "(its hash differs from reward_model.json)"
        )
    return position


def model_max_length(config: Any, tokenizer: Any) -> int:
    """The most tokens a model reads, by its position embeddings and its tokenizer's limit."""
    limits = [getattr(config.get_text_config(), "max_position_embeddings", None)]
    limits.append(getattr(tokenizer, "model_max_length", None))
    known = [int(limit) for limit in limits if limit is not None and 0 < limit < 10**9]
    return min(known) if known else DEFAULT_MAX_LENGTH


def _profile(
    name: str,
    role: Role,
    directory: Path,
    contract: PositionContract,
    manifest: RewardModelManifest | None,
) -> ModelProfile:
    digest = weights_digest(directory)
    profile = ModelProfile(role, name, digest, contract.template_sha256, contract.max_length)
    if manifest is None:
        return profile
    threshold = manifest.safety_threshold
    return replace(
        profile,
        temperature=manifest.temperature,
        bias=manifest.bias,
        baseline=manifest.baseline,
        tau=None if threshold is None else threshold.tau,
    )


def weights_digest(directory: Path) -> str:
    """One sha256 over a checkpoint's safetensors files, hex: the identity of its weights."""
    import hashlib

    digest = hashlib.sha256()
    for path in sorted(directory.glob("*.safetensors")):
        digest.update(file_digest(path).encode())
    return digest.hexdigest()


def tensor_names(directory: Path) -> list[str]:
    """Names of all tensors in a checkpoint's safetensors files, sorted."""
    names: list[str] = []
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            names.extend(file.keys())
    return sorted(names)


__all__ = [
    "RewardModel",
    "inspect_files",
    "load_reward_model",
    "model_max_length",
    "resolve_directory",
    "tensor_names",
    "weights_digest",
]
