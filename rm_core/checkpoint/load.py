"""Loading a reward model from a directory or a hub name, and refusing every unsound one by name.

Weights come from safetensors only and no code of the checkpoint ever runs: the files are inspected
before transformers sees them. This module is where transformers' loading errors become ours.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers import logging as transformers_logging

from rm_core.checkpoint.adapters import (
    SharedBases,
    adapter_digest,
    attach,
    inspect_adapter,
    inspect_base,
    is_adapter,
)
from rm_core.checkpoint.files import inspect_files, resolve_directory, tensor_names, weights_digest
from rm_core.checkpoint.heads import give_bias, read_head_bias
from rm_core.checkpoint.manifest import RewardModelManifest, read_manifest, verify_files
from rm_core.checkpoint.padding import without_unknown_pad
from rm_core.errors import CheckpointError, MissingHead, WrongNumLabels, WrongRole
from rm_core.text.contract import PositionContract, ReadRule, default_contract
from rm_core.text.encoder import TextEncoder
from rm_core.types import ROLES, ModelName, ModelProfile

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
        base: what an adapter sits on, as it names it; None for a full checkpoint.
    """

    model: Any
    encoder: TextEncoder
    profile: ModelProfile
    manifest: RewardModelManifest | None
    base: str | None = None


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a full checkpoint and an adapter on its base both give."""

    model: Any
    tokenizer: Any
    digest: str
    base: str | None


def load_reward_model(
    name: str,
    role: ModelName,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    read: ReadRule | None = None,
    bases: SharedBases | None = None,
) -> RewardModel:
    """Load a reward model.

    Args:
        name: a directory, or a name on the hub (fetched unless HF_HUB_OFFLINE is set): a full
            checkpoint, or a LoRA adapter, whose base is then found and loaded as well.
        role: its name among the loaded models; for "safety" and "helpfulness" a manifest that says
            otherwise is an error.
        device: where the weights go.
        dtype: of the trunk; the head is always evaluated in float32.
        read: overrides the position that the head reads.
        bases: where adapters find bases that others have loaded; None shares nothing.

    Raises:
        CheckpointError: one subclass for each way that a checkpoint can be wrong.
        ConfigurationError: an adapter, and peft is not installed.
    """
    directory = resolve_directory(name)
    if is_adapter(directory):
        parts, manifest = _load_adapter(directory, name, role, device, dtype, bases)
    else:
        parts, manifest = _load_full(directory, name, role, device, dtype)
    contract = _contract(parts.tokenizer, parts.model.config, manifest)
    if read is not None:
        contract = replace(contract, read=read)
    pad_token_id = getattr(parts.model.config.get_text_config(), "pad_token_id", None)
    if parts.base is not None and (pad_token_id is None or manifest is not None):
        # peft saves no config.json, in which training has told the model its pad token: the base's
        # may be EOS, and an adapter of ours never was trained so.
        pad_token_id = parts.tokenizer.pad_token_id
    encoder = TextEncoder(parts.tokenizer, contract, pad_token_id=pad_token_id)
    profile = _profile(name, role, parts.digest, contract, manifest)
    return RewardModel(parts.model, encoder, profile, manifest, parts.base)


def _load_full(
    directory: Path, name: str, role: ModelName, device: torch.device | str, dtype: torch.dtype
) -> tuple[_Parts, RewardModelManifest | None]:
    config = inspect_files(directory)
    manifest = _verified_manifest(directory, name, role)
    _check_labels(name, config)
    model = _load_model(name, directory, dtype).to(device).eval()
    tokenizer = _load_tokenizer(name, directory)
    return _Parts(model, tokenizer, weights_digest(directory), None), manifest


def _load_adapter(
    directory: Path,
    name: str,
    role: ModelName,
    device: torch.device | str,
    dtype: torch.dtype,
    bases: SharedBases | None,
) -> tuple[_Parts, RewardModelManifest | None]:
    adapter = inspect_adapter(directory)
    manifest = _verified_manifest(directory, name, role)
    base = inspect_base(adapter, manifest)
    architectures = base.config.get("architectures") or []
    if not any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures):
        _check_labels(base.name, base.config)
    shared = SharedBases() if bases is None else bases
    model = shared.take(
        (base.identity, dtype, torch.device(device)),
        lambda: _load_base(base.name, base.directory, dtype).to(device).eval(),
    )
    model = attach(adapter, model)
    tokenizer = _load_tokenizer(name, directory if adapter.has_tokenizer else base.directory)
    return _Parts(model, tokenizer, adapter_digest(adapter, base), base.name), manifest


def _verified_manifest(directory: Path, name: str, role: ModelName) -> RewardModelManifest | None:
    manifest = read_manifest(directory)
    if manifest is not None:
        verify_files(directory, manifest)
        if role in ROLES and manifest.role != role:
            raise WrongRole(
                f"{name} is a {manifest.role} reward model, but it was given as the {role} model"
            )
    return manifest


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
    bias = read_head_bias(directory)
    if bias is None:
        model, missing = _from_pretrained(name, directory, dtype)
    else:
        with _without_advice():  # transformers calls the bias unexpected
            model, missing = _from_pretrained(name, directory, dtype)
        give_bias(getattr(model, "score", None), bias)
    _refuse_missing(name, missing)
    return model


def _load_base(name: str, directory: Path, dtype: torch.dtype) -> Any:
    """An adapter's base; the head may be missing, as the adapter brings its own."""
    with _without_advice():  # to train the missing head, which is wrong here
        model, missing = _from_pretrained(name, directory, dtype, num_labels=1)
    _refuse_missing(name, [key for key in missing if not key.startswith("score.")])
    return model


@contextmanager
def _without_advice() -> Iterator[None]:
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def _refuse_missing(name: str, missing: list[str]) -> None:
    if missing:
        raise MissingHead(
            f"{name} lacks the weights {', '.join(missing[:5])}, which would be random; "
            "a reward model's head must be trained and saved with it"
        )


def _from_pretrained(
    name: str, directory: Path, dtype: torch.dtype, **options: Any
) -> tuple[Any, list[str]]:
    """The model, and the names of weights that its files lack, sorted."""
    try:
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            directory,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            dtype=dtype,
            output_loading_info=True,
            **without_unknown_pad(directory),
            **options,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"transformers can't load {name}: {error}") from error
    mismatched = sorted(str(key[0]) for key in loading.get("mismatched_keys") or ())
    if mismatched:
        raise CheckpointError(
            f"{name}: {', '.join(mismatched[:5])} differ in shape from the config"
        )
    return model, sorted(loading["missing_keys"])


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
    role: ModelName,
    digest: str,
    contract: PositionContract,
    manifest: RewardModelManifest | None,
) -> ModelProfile:
    profile = ModelProfile(role, name, digest, contract.template_sha256, contract.max_length)
    if manifest is None:
        return profile
    return replace(
        profile,
        temperature=manifest.temperature,
        bias=manifest.bias,
        baseline=manifest.baseline,
        calibration=manifest.calibration,
        baseline_source=manifest.baseline_source,
        reference_quantiles=manifest.reference_quantiles,
        safety_threshold=manifest.safety_threshold,
    )


__all__ = [
    "RewardModel",
    "inspect_files",
    "load_reward_model",
    "model_max_length",
    "resolve_directory",
    "tensor_names",
    "weights_digest",
]
