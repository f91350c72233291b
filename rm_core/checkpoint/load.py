"""Loading a reward model from a directory or a hub name, and refusing every unsound one by name.

Weights come from safetensors only and no code of the checkpoint ever runs: the files are inspected
before transformers sees them.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rm_core.checkpoint.accounting import TensorAccount
from rm_core.checkpoint.adapters import (
    Base,
    SharedBases,
    adapter_digest,
    attach,
    inspect_adapter,
    inspect_base,
    is_adapter,
)
from rm_core.checkpoint.classifier import (
    CLASSIFIES,
    Classifier,
    architectures_of,
    load_base,
    load_classifier,
    num_labels_of,
)
from rm_core.checkpoint.files import (
    inspect_files,
    refuse_quantised,
    resolve_directory,
    weights_digest,
)
from rm_core.checkpoint.manifest import RewardModelManifest, read_manifest, verify_files
from rm_core.checkpoint.tokenizer import load_tokenizer, pad_disagreement, pad_tokens
from rm_core.errors import CheckpointError, MissingHead, WrongNumLabels, WrongRole
from rm_core.text.contract import (
    NO_OVERRIDES,
    ContractOverrides,
    PositionContract,
    default_contract,
)
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
        accounts: what became of each tensor in the files; of an adapter, of its base's.
        notes: what an operator should know of how the files fit together and how texts are read,
            as sentences.
    """

    model: Any
    encoder: TextEncoder
    profile: ModelProfile
    manifest: RewardModelManifest | None
    base: str | None = None
    accounts: tuple[TensorAccount, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a full checkpoint and an adapter on its base both give."""

    model: Any
    tokenizer: Any
    digest: str
    base: str | None
    accounts: tuple[TensorAccount, ...]
    directory: Path


def load_reward_model(
    name: str,
    role: ModelName,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    overrides: ContractOverrides = NO_OVERRIDES,
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
        overrides: of how the checkpoint reads texts.
        bases: where adapters find bases that others have loaded; None shares nothing.

    Raises:
        CheckpointError: one subclass for each way that a checkpoint can be wrong.
        ConfigurationError: an adapter, and peft is not installed; or the overrides don't suit it.
    """
    directory = resolve_directory(name)
    if is_adapter(directory):
        parts, manifest = _load_adapter(directory, name, role, device, dtype, bases)
    else:
        parts, manifest = _load_full(directory, name, role, device, dtype)
    contract = _contract(parts.tokenizer, parts.model.config, manifest)
    contract = overrides.applied_to(contract, parts.tokenizer)
    pad_token_id = getattr(parts.model.config.get_text_config(), "pad_token_id", None)
    if parts.base is not None and (pad_token_id is None or manifest is not None):
        # peft saves no config.json, in which training has told the model its pad token: the base's
        # may be EOS, and an adapter of ours never was trained so.
        pad_token_id = parts.tokenizer.pad_token_id
    encoder = TextEncoder(
        parts.tokenizer,
        contract,
        pad_token_id=pad_token_id,
        embedding_rows=_embedding_rows(parts.model),
    )
    profile = _profile(name, role, parts.digest, contract, manifest)
    notes: tuple[str, ...] = ()
    if parts.base is None and contract.read == "last_non_pad":
        pads = pad_tokens(parts.model.config, parts.directory, parts.tokenizer)
        note = pad_disagreement(pads, read=pad_token_id)
        notes = () if note is None else (f"{name}: {note}",)
    notes += encoder.notes(is_assumed=manifest is None)
    return RewardModel(parts.model, encoder, profile, manifest, parts.base, parts.accounts, notes)


def _load_full(
    directory: Path, name: str, role: ModelName, device: torch.device | str, dtype: torch.dtype
) -> tuple[_Parts, RewardModelManifest | None]:
    config = inspect_files(directory)
    refuse_quantised(directory / "config.json", config)
    manifest = _verified_manifest(directory, name, role)
    loaded = load_classifier(name, directory, config, dtype)
    model = loaded.model.to(device).eval()
    tokenizer = load_tokenizer(name, directory)
    digest = weights_digest(directory)
    return _Parts(model, tokenizer, digest, None, loaded.accounts, directory), manifest


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
    refuse_quantised(base.directory / "config.json", base.config)
    _check_base(base)
    shared = SharedBases() if bases is None else bases
    accounts: list[TensorAccount] = []

    def load() -> Any:
        loaded: Classifier = load_base(base.name, base.directory, base.config, dtype)
        accounts.extend(loaded.accounts)
        return loaded.model.to(device).eval()

    model = shared.take((base.identity, dtype, torch.device(device)), load)
    model = attach(adapter, model)
    where = directory if adapter.has_tokenizer else base.directory
    tokenizer = load_tokenizer(name, where)
    digest = adapter_digest(adapter, base)
    return _Parts(model, tokenizer, digest, base.name, tuple(accounts), where), manifest


def _check_base(base: Base) -> None:
    """Refuse a base that is neither a language model nor a reward model."""
    architectures = architectures_of(base.name, base.config)
    if any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures):
        return
    if not any(name.endswith(CLASSIFIES) for name in architectures):
        raise MissingHead(
            f"{base.name} is {', '.join(architectures) or 'of no named architecture'}, neither a "
            "causal language model nor a sequence classifier; an adapter is served on one of these"
        )
    count = num_labels_of(base.name, base.config)
    if count != 1:
        raise WrongNumLabels(
            f"{base.name} has {count} labels; a reward model has exactly 1 (num_labels: 1)"
        )


def _verified_manifest(directory: Path, name: str, role: ModelName) -> RewardModelManifest | None:
    manifest = read_manifest(directory)
    if manifest is not None:
        verify_files(directory, manifest)
        if role in ROLES and manifest.role != role:
            raise WrongRole(
                f"{name} is a {manifest.role} reward model, but it was given as the {role} model"
            )
    return manifest


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


def _embedding_rows(model: Any) -> int | None:
    """How many ids a model knows; its tokenizer may know fewer. None where that can't be told."""
    try:
        return int(model.get_input_embeddings().num_embeddings)
    except (AttributeError, NotImplementedError, TypeError):
        return None


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
    "weights_digest",
]
