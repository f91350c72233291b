"""Loading a reward model from a directory or a hub name, and refusing every unsound one by name.

Weights come from safetensors only and no code of the checkpoint ever runs: the files are inspected
before transformers sees them.
"""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rm_core.checkpoint.accounting import TensorAccount
from rm_core.checkpoint.adapters import (
    MERGE,
    SharedBases,
    adapter_digest,
    attach,
    inspect_adapter,
    inspect_base,
    is_adapter,
)
from rm_core.checkpoint.classifier import (
    Classifier,
    Trunks,
    check_base_architecture,
    load_base,
    load_classifier,
)
from rm_core.checkpoint.files import (
    inspect_files,
    refuse_quantised,
    resolve_directory,
    verify_held,
    weights_digest,
)
from rm_core.checkpoint.golden import GoldenReward, read_golden
from rm_core.checkpoint.held_files import HeldFiles
from rm_core.checkpoint.manifest import RewardModelManifest, read_manifest
from rm_core.checkpoint.open_files import NO_CAUTION, Caution, OpenFiles, refuse_elsewhere
from rm_core.checkpoint.own_memory import let_go_of_files
from rm_core.checkpoint.soundness import refuse_deaf, refuse_unsound_head
from rm_core.checkpoint.source import ModelSource, digest_of_part
from rm_core.checkpoint.tokenizer import load_tokenizer, pad_disagreement, pad_tokens
from rm_core.checkpoint.weights import weight_files
from rm_core.errors import CheckpointError, WrongRole
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
        golden: raw rewards that its maker saw, where it is read as they were made; else none.
    """

    model: Any
    encoder: TextEncoder
    profile: ModelProfile
    manifest: RewardModelManifest | None
    base: str | None = None
    accounts: tuple[TensorAccount, ...] = ()
    notes: tuple[str, ...] = ()
    golden: tuple[GoldenReward, ...] = ()


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
    golden: tuple[GoldenReward, ...] = ()


def load_reward_model(
    source: str | ModelSource,
    role: ModelName,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    overrides: ContractOverrides = NO_OVERRIDES,
    bases: SharedBases | None = None,
    trunks: Trunks | None = None,
    caution: Caution = NO_CAUTION,
) -> RewardModel:
    """Load a reward model: the bytes that are served are those that its digest is of.

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
        caution: where it must lie, and where it is tried first.

    Raises:
        CheckpointError: one subclass for each way that a checkpoint can be wrong.
        ConfigurationError: an adapter, and peft is not installed; or the overrides don't suit it.
    """
    source = ModelSource.of(source)
    name = source.name
    directory = resolve_directory(name)
    if caution.within is not None:
        refuse_elsewhere(directory, caution.within)
    with ExitStack() as stack:
        open_files = OpenFiles(stack, caution, keep_open=trunks is not None)
        if is_adapter(directory):
            _refuse_part_of_adapter(source)
            parts, manifest = _load_adapter(directory, name, role, device, dtype, bases, open_files)
        else:
            parts, manifest = _load_full(directory, source, role, device, dtype, trunks, open_files)
        let_go_of_files(parts.model)
        refuse_unsound_head(name, parts.model)
        return _as_read(source, role, parts, manifest, overrides)


def _as_read(
    source: ModelSource,
    role: ModelName,
    parts: _Parts,
    manifest: RewardModelManifest | None,
    overrides: ContractOverrides,
) -> RewardModel:
    """A loaded checkpoint with the way that it reads texts."""
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
    refuse_deaf(source.name, encoder)
    profile = _profile(source, role, parts, contract, manifest)
    notes: tuple[str, ...] = ()
    if parts.base is None and contract.read == "last_non_pad":
        pads = pad_tokens(parts.model.config, parts.directory, parts.tokenizer)
        note = pad_disagreement(pads, read=pad_token_id)
        notes = () if note is None else (f"{source.name}: {note}",)
    notes += encoder.notes(is_assumed=manifest is None)
    is_as_made = parts.label is None and overrides == NO_OVERRIDES
    is_as_made = is_as_made and parts.layer == (None if manifest is None else manifest.layer)
    return RewardModel(
        parts.model,
        encoder,
        profile,
        manifest,
        parts.base,
        parts.accounts,
        notes,
        parts.golden if is_as_made else (),
    )


def _load_full(
    directory: Path,
    source: ModelSource,
    role: ModelName,
    device: torch.device | str,
    dtype: torch.dtype,
    trunks: Trunks | None,
    open_files: OpenFiles,
) -> tuple[_Parts, RewardModelManifest | None]:
    inspect_files(directory)
    files = open_files(directory, weight_files(directory))
    directory = files.path
    config = inspect_files(directory)
    refuse_quantised(directory / "config.json", config)
    manifest = _verified_manifest(files, source.name, None if source.label else role)
    open_files.try_all(source.name, files, weights=weight_files(directory))
    if manifest is not None and source.layer is None:
        source = replace(source, layer=manifest.layer)
    labels = () if manifest is None else tuple(manifest.labels)
    loaded = load_classifier(
        source,
        directory,
        config,
        dtype,
        device=device,
        labels=labels,
        trunks=trunks,
        files=files,
    )
    tokenizer = load_tokenizer(source.name, directory)
    whole = weights_digest(directory, files.digest_of)
    digest = digest_of_part(whole, label=loaded.label, layer=loaded.layer)
    files.refuse_changed()
    return _Parts(
        loaded.model.eval(),
        tokenizer,
        digest,
        None,
        loaded.accounts,
        directory,
        loaded.label,
        loaded.layer,
        read_golden(directory),
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
    open_files: OpenFiles,
) -> tuple[_Parts, RewardModelManifest | None]:
    inspect_adapter(directory)
    files = open_files(directory, sorted(directory.glob("*.safetensors")))
    adapter = inspect_adapter(files.path)
    manifest = _verified_manifest(files, name, role)
    base = inspect_base(adapter, manifest, open_files)
    weights = weight_files(base.directory)
    open_files.try_all(name, base.files, weights=weights, adapter=files)
    if adapter.has_tokenizer:
        open_files.try_all(name, files, weights=())
    refuse_quantised(base.directory / "config.json", base.config)
    check_base_architecture(base.name, base.config)
    shared = SharedBases() if bases is None else bases
    accounts: list[TensorAccount] = []

    def load() -> Any:
        loaded: Classifier = load_base(base.name, base.directory, base.config, dtype)
        accounts.extend(loaded.accounts)
        return loaded.model.to(device).eval()

    model = shared.take((base.identity, dtype, torch.device(device)), load)
    model = attach(adapter, model)
    where = adapter.directory if adapter.has_tokenizer else base.directory
    tokenizer = load_tokenizer(name, where)
    digest = adapter_digest(files, base)
    files.refuse_changed()
    base.files.refuse_changed()
    golden = read_golden(adapter.directory)
    return (
        _Parts(model, tokenizer, digest, base.name, tuple(accounts), where, golden=golden),
        manifest,
    )


def _verified_manifest(
    files: HeldFiles, name: str, role: ModelName | None
) -> RewardModelManifest | None:
    """The manifest, if there is one; None for the role: a label's, which the manifest's is not."""
    manifest = read_manifest(files.path)
    if manifest is not None:
        verify_held(files, manifest)
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
