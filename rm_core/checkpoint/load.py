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
    MERGE,
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
    Trunks,
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
from rm_core.checkpoint.source import ModelSource, digest_of_part
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
    label: int | None = None
    layer: int | None = None


def load_reward_model(
    source: str | ModelSource,
    role: ModelName,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    overrides: ContractOverrides = NO_OVERRIDES,
    bases: SharedBases | None = None,
    trunks: Trunks | None = None,
) -> RewardModel:
    """Load a reward model.

    Args:
        source: a directory, or a name on the hub (fetched unless HF_HUB_OFFLINE is set): a full
            checkpoint, or a LoRA adapter, whose base is then found and loaded as well; and what of
            it is read, see `ModelSource.of`.
        role: its name among the loaded models; for "safety" and "helpfulness" a manifest that says
            otherwise is an error.
        device: where the weights go.
        dtype: of the trunk; the head is always evaluated in float32.
        overrides: of how the checkpoint reads texts.
        bases: where adapters find bases that others have loaded; None shares nothing.
        trunks: where full checkpoints find equal trunks that others have loaded; likewise.

    Raises:
        CheckpointError: one subclass for each way that a checkpoint can be wrong.
        ConfigurationError: an adapter, and peft is not installed; or the overrides don't suit it.
    """
    source = ModelSource.of(source)
    name = source.name
    directory = resolve_directory(name)
    if is_adapter(directory):
        _refuse_part_of_adapter(source)
        parts, manifest = _load_adapter(directory, name, role, device, dtype, bases)
    else:
        parts, manifest = _load_full(directory, source, role, device, dtype, trunks)
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
    profile = _profile(source, role, parts, contract, manifest)
    notes: tuple[str, ...] = ()
    if parts.base is None and contract.read == "last_non_pad":
        pads = pad_tokens(parts.model.config, parts.directory, parts.tokenizer)
        note = pad_disagreement(pads, read=pad_token_id)
        notes = () if note is None else (f"{name}: {note}",)
    notes += encoder.notes(is_assumed=manifest is None)
    return RewardModel(parts.model, encoder, profile, manifest, parts.base, parts.accounts, notes)


def _load_full(
    directory: Path,
    source: ModelSource,
    role: ModelName,
    device: torch.device | str,
    dtype: torch.dtype,
    trunks: Trunks | None,
) -> tuple[_Parts, RewardModelManifest | None]:
    config = inspect_files(directory)
    refuse_quantised(directory / "config.json", config)
    manifest = _verified_manifest(directory, source.name, None if source.label else role)
    if manifest is not None and source.layer is None:
        source = replace(source, layer=manifest.layer)
    labels = () if manifest is None else tuple(manifest.labels)
    loaded = load_classifier(
        source, directory, config, dtype, device=device, labels=labels, trunks=trunks
    )
    tokenizer = load_tokenizer(source.name, directory)
    digest = digest_of_part(weights_digest(directory), label=loaded.label, layer=loaded.layer)
    return _Parts(
        loaded.model.eval(),
        tokenizer,
        digest,
        None,
        loaded.accounts,
        directory,
        loaded.label,
        loaded.layer,
    ), manifest


def _refuse_part_of_adapter(source: ModelSource) -> None:
    """Refuse to read an adapter at an inner layer, or one label of it: neither is saved so.

    Raises:
        CheckpointError: that is asked for.
    """
    asked = "a label" if source.label is not None else None
    asked = f"layer {source.layer}" if source.layer is not None else asked
    if asked is not None:
        raise CheckpointError(
            f"{source.name} is an adapter, of which {asked} can't be read: its head reads its "
            f"base's last layer and has one output; {MERGE}"
        )


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


def _verified_manifest(
    directory: Path, name: str, role: ModelName | None
) -> RewardModelManifest | None:
    """The manifest, if there is one; None for the role: a label's, which the manifest's is not."""
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
    source: ModelSource,
    role: ModelName,
    parts: _Parts,
    contract: PositionContract,
    manifest: RewardModelManifest | None,
) -> ModelProfile:
    profile = ModelProfile(
        role,
        source.told,
        parts.digest,
        contract.template_sha256,
        contract.max_length,
        layer=parts.layer,
    )
    if manifest is not None and parts.label is not None and manifest.labels:
        own = list(manifest.labels.values())[parts.label]
        profile = replace(profile, temperature=own.temperature, bias=own.bias)
    elif manifest is not None and parts.label is None and parts.layer == manifest.layer:
        # Fitted on this head at this layer: at another they would be another model's.
        profile = replace(
            profile,
            temperature=manifest.temperature,
            bias=manifest.bias,
            baseline=manifest.baseline,
            calibration=manifest.calibration,
            baseline_source=manifest.baseline_source,
            reference_quantiles=manifest.reference_quantiles,
            safety_threshold=manifest.safety_threshold,
        )
    if source.temperature is None and source.bias is None:
        return profile
    return replace(
        profile,
        temperature=1.0 if source.temperature is None else source.temperature,
        bias=source.bias or 0.0,
        # These are on the scale of the checkpoint's own calibration.
        baseline=None,
        calibration=None,
        baseline_source=None,
        reference_quantiles=None,
        safety_threshold=None,
    )


__all__ = [
    "RewardModel",
    "inspect_files",
    "load_reward_model",
    "model_max_length",
    "resolve_directory",
    "weights_digest",
]
