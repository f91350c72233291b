"""LoRA reward models: peft adapter directories, inspected, and put on a base that they share.

An adapter is a small difference to a base's linear layers, and a reward head of its own. Two
adapters on one base become two module trees whose base weights are the same tensors: the base is in
memory once, and each tree has one adapter that is always active, so that no forward can run with
the other's. This module is where peft's errors become ours.
"""

import hashlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rm_core.checkpoint.asked_code import refuse_code
from rm_core.checkpoint.files import (
    ADAPTER_CONFIG,
    inspect_files,
    refuse_pickled,
    refuse_tokenizer_code,
    resolve_directory,
    verify_held,
    weights_digest,
)
from rm_core.checkpoint.heads import give_bias
from rm_core.checkpoint.held_files import HeldFiles
from rm_core.checkpoint.json_files import in_short, read_object
from rm_core.checkpoint.manifest import RewardModelManifest, read_manifest
from rm_core.checkpoint.own_memory import let_go_of_files
from rm_core.checkpoint.shared_trunks import on_same_tensors
from rm_core.checkpoint.stored_heads import heads_of
from rm_core.checkpoint.weights import Stored, stored_tensors, weight_files
from rm_core.errors import (
    CheckpointError,
    CheckpointNotFound,
    ConfigurationError,
    DigestMismatch,
    MissingHead,
    UnsafeCheckpoint,
    WrongNumLabels,
)

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What peft puts before the name that a tensor has in the base."""
HEAD = f"{PREFIX}score.weight"
HEAD_BIAS = f"{PREFIX}score.bias"
ADAPTER_NAME = "default"
MERGE = "merge it into its base (peft's merge_and_unload), save the result and serve that"

HONOURED = (
    "r",
    "lora_alpha",
    "target_modules",
    "exclude_modules",
    "fan_in_fan_out",
    "use_rslora",
    "use_dora",
    "lora_bias",
    "modules_to_save",
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
)
"""Settings of the adapter that peft is given; everything else is peft's default."""

WITHOUT_EFFECT = (
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "inference_mode",
    "init_lora_weights",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
)
"""Settings of how it was trained or initialised, or that do nothing without another one."""

KEEPS_BASE = (True, False, None, "gaussian", "orthogonal", "eva")
"""Initialisations that leave the base as it was; the others (PiSSA, OLoRA …) change its weights."""


Hold = Callable[[Path, Sequence[Path]], HeldFiles]
"""Opens a checkpoint's files: its directory, and which of them hold its weights."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter directory that was inspected and may be loaded.

    Attributes:
        directory: where it is.
        base: what it was trained on: a directory or a name on the hub.
        revision: of the base on the hub; None for the newest.
        options: settings of LoRA, by peft's names.
        has_bias: whether its head has one, which transformers' own has not.
    """

    directory: Path
    base: str
    revision: str | None
    options: dict[str, Any]
    has_bias: bool = False

    @property
    def has_tokenizer(self) -> bool:
        """Whether it brings a tokenizer; else the base's is used."""
        names = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
        return any((self.directory / name).is_file() for name in names)


@dataclass(frozen=True, slots=True)
class Base:
    """The checkpoint that an adapter sits on, inspected.

    Attributes:
        name: as the adapter gives it.
        files: that it has, held open.
        config: the content of its config.json.
        digest: sha256 of its weights, hex.
    """

    name: str
    files: HeldFiles
    config: dict[str, Any]
    digest: str

    @property
    def identity(self) -> tuple[str, str]:
        """Equal for directories of equal weights and configuration."""
        return self.digest, self.files.digest_of(self.directory / "config.json")

    @property
    def directory(self) -> Path:
        """Where its files are loaded from."""
        return self.files.path


class SharedBases:
    """Bases in memory, so that adapters on one share its weights."""

    def __init__(self) -> None:
        self._loaded: dict[Hashable, Any] = {}

    def take(self, identity: Hashable, load: Callable[[], Any]) -> Any:
        """A model of one's own on the base's weights, which are loaded only the first time.

        Args:
            identity: equal for equal bases, including dtype and device.
            load: gives the base, as transformers loads it.

        Returns:
            A copy of its modules; parameters and buffers are the base's own tensors.
        """
        if identity not in self._loaded:
            self._loaded[identity] = load()
        return on_same_tensors(self._loaded[identity])


def is_adapter(directory: Path) -> bool:
    """Whether a checkpoint directory holds a peft adapter."""
    return (directory / ADAPTER_CONFIG).is_file()


def inspect_adapter(directory: Path) -> Adapter:
    """Look at an adapter's files before any library loads them.

    Raises:
        CheckpointNotFound: no weights, or no base named.
        UnsafeCheckpoint: only pickled weights, or a configuration that asks for code.
        MissingHead: the weights hold no reward head, so that it would be random.
        WrongNumLabels: the head has more than one output.
        CheckpointError: not a LoRA adapter, or of a kind that can only be served merged.
    """
    path = directory / ADAPTER_CONFIG
    config = read_object(path)
    _refuse_code(path, config)
    refuse_tokenizer_code(directory)
    if not isinstance(config.get("modules_to_save"), list | None):
        raise CheckpointError(f"{path}: modules_to_save must be a list of names, or null")
    _refuse_unknown_kind(directory, config)
    has_bias = _inspect_weights(directory, config)
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise CheckpointNotFound(
            f"{path} names no base; set base_model_name_or_path to the model it was trained on"
        )
    revision = config.get("revision")
    options = {key: config[key] for key in HONOURED if key in config}
    if not isinstance(revision, str):
        revision = None
    return Adapter(directory, base, revision, options, has_bias)


def inspect_base(adapter: Adapter, manifest: RewardModelManifest | None, hold: Hold) -> Base:
    """Find and look at the base of an adapter, with every check that a checkpoint gets.

    Args:
        adapter: whose base it is.
        manifest: the adapter's reward_model.json; where that tells the base's digest, it must hold.
        hold: opens the files of its directory.

    Raises:
        CheckpointError: one subclass for each way that the base can be wrong.
    """
    try:
        directory = resolve_directory(adapter.base, revision=adapter.revision)
    except CheckpointNotFound as error:
        raise CheckpointNotFound(
            f"{adapter.directory} is an adapter, and its base is not to be had: {error}; set "
            f"base_model_name_or_path in its {ADAPTER_CONFIG} to where the base is"
        ) from error
    inspect_files(directory)
    files = hold(directory, weight_files(directory))
    own_manifest = read_manifest(files.path)
    if own_manifest is not None:
        verify_held(files, own_manifest)
    digest = weights_digest(files.path, files.digest_of)
    base = Base(adapter.base, files, inspect_files(files.path), digest)
    expected = None if manifest is None else manifest.base_model.get("weights_sha256")
    if expected is not None and expected != base.digest:
        raise DigestMismatch(
            f"{adapter.directory} was trained on weights with sha256 {str(expected)[:12]}…, and "
            f"those in {directory} have {base.digest[:12]}…; give it the base it was trained on"
        )
    return base


def adapter_digest(files: HeldFiles, base: Base) -> str:
    """One sha256 over the adapter's weights and settings and its base's weights, hex."""
    parts = (
        weights_digest(files.path, files.digest_of),
        files.digest_of(files.path / ADAPTER_CONFIG),
        base.digest,
    )
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def attach(adapter: Adapter, model: Any) -> Any:
    """Put an adapter's layers into a base, and its head on top.

    Args:
        adapter: what to load.
        model: the base as a model for sequence classification with one label; changed in place,
            while its weights stay as they are.

    Returns:
        The model with the adapter active and a plain linear `score`.

    Raises:
        ConfigurationError: peft is not installed.
        CheckpointError: the adapter does not fit the base.
    """
    try:
        from peft import LoraConfig, PeftModelForSequenceClassification
    except ImportError as error:
        raise ConfigurationError(
            f"{adapter.directory} is a LoRA adapter, which needs peft; install it with: "
            "pip install 'rewardd[lora]'"
        ) from error
    if adapter.has_bias:
        give_bias(model.score, torch.zeros(1))  # for peft to fill
    try:
        config = LoraConfig(task_type="SEQ_CLS", inference_mode=True, **adapter.options)
        wrapped = PeftModelForSequenceClassification(
            model, config, ADAPTER_NAME, autocast_adapter_dtype=False
        )
        loading = wrapped.load_adapter(
            str(adapter.directory),
            ADAPTER_NAME,
            torch_device=str(model.device),
            autocast_adapter_dtype=False,
        )
    except Exception as error:  # what a wrong setting raises deep in peft has no common class
        raise CheckpointError(
            f"peft can't put {adapter.directory} on {adapter.base} ({in_short(error)}); train it "
            "again on this base, or serve it merged"
        ) from error
    wrong = sorted({*loading.missing_keys, *loading.unexpected_keys})
    if wrong:
        raise CheckpointError(
            f"{adapter.directory} and {adapter.base} don't fit: {', '.join(wrong[:5])} is in only "
            "one of them"
        )
    let_go_of_files(wrapped)
    model = wrapped.get_base_model()
    model.score = model.score.modules_to_save[ADAPTER_NAME]
    return model.requires_grad_(False).eval()


def _refuse_code(path: Path, config: dict[str, Any]) -> None:
    refuse_code(path, config)
    mapping = config.get("auto_mapping") or {}
    library = str(mapping.get("parent_library") if isinstance(mapping, dict) else mapping)
    if mapping and library.partition(".")[0] != "transformers":
        raise UnsafeCheckpoint(
            f"{path} asks for the module {library} (auto_mapping); rewardd runs no remote code"
        )
    if config.get("megatron_config"):
        raise UnsafeCheckpoint(
            f"{path} asks for the module {config.get('megatron_core')} (megatron_config); rewardd "
            "runs no remote code"
        )


def _refuse_unknown_kind(directory: Path, config: dict[str, Any]) -> None:
    """Refuse an adapter that may compute something else here than in its training."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise CheckpointError(
            f"{directory} is an adapter of type {kind}, and rewardd serves LORA; {MERGE}"
        )
    if config.get("init_lora_weights", True) not in KEEPS_BASE:
        raise CheckpointError(
            f"{directory} changes its base's weights (init_lora_weights: "
            f"{config['init_lora_weights']}), so that it can't share them; {MERGE}"
        )
    unknown = sorted(
        key
        for key, value in config.items()
        if key not in HONOURED and key not in WITHOUT_EFFECT and value and value != "none"
    )
    if unknown:
        raise CheckpointError(
            f"{directory} uses {', '.join(unknown)}, which rewardd does not serve; {MERGE}"
        )


def _inspect_weights(directory: Path, config: dict[str, Any]) -> bool:
    """Look at an adapter's tensors; whether its head has a bias."""
    others = sorted(p.name for p in directory.glob("*.safetensors") if p.name != WEIGHTS)
    if "value_head.safetensors" in others:
        raise MissingHead(
            f"{directory} has its head in value_head.safetensors: `rewardd convert {directory} "
            "OUTPUT`"
        )
    if others:
        raise CheckpointError(
            f"{directory} holds an adapter and other weights ({', '.join(others[:3])}); keep one "
            "or the other there"
        )
    path = directory / WEIGHTS
    if not path.is_file():
        refuse_pickled(directory)
        raise CheckpointNotFound(f"{directory} has an {ADAPTER_CONFIG} but no {WEIGHTS}")
    stored = stored_tensors((path,))
    names = sorted(stored)
    outputs = stored[HEAD].shape[0] if HEAD in stored else None
    if any(".classifier." in name for name in names):
        raise CheckpointError(
            f"{directory} has a `classifier` head, and adapters are served for models with a "
            f"`score` head; {MERGE}"
        )
    if outputs is None:
        raise MissingHead(
            f"{path} lacks {HEAD}, the reward head, which would be random; "
            f"{_head_elsewhere(directory, stored)}"
        )
    if outputs != 1:
        raise WrongNumLabels(f"{path} has a head with {outputs} labels; a reward model has 1")
    _refuse_base_weights(path, names, config.get("modules_to_save") or [])
    return HEAD_BIAS in names


def _head_elsewhere(directory: Path, stored: Stored) -> str:
    head = next((head for head in heads_of(stored) if ".lora_" not in head.name), None)
    if head is None:
        return (
            'train with peft\'s task_type "SEQ_CLS" (or modules_to_save ["score"]), so that it is '
            "saved"
        )
    return f"{head.shape} looks like it: `rewardd convert {directory} OUTPUT --head {head.name}`"


def _refuse_base_weights(path: Path, names: list[str], modules_to_save: list[Any]) -> None:
    """Weights of the base in an adapter's file would be written over those that others share."""
    # peft saves every module whose name ends with one of these.
    own = tuple(f"{module}." for module in (*modules_to_save, "score"))
    wrong = [
        name
        for name in names
        if ".lora_embedding_" in name
        or not (".lora_" in name or any(end in name.removeprefix(PREFIX) for end in own))
    ]
    if wrong:
        raise CheckpointError(
            f"{path} holds {', '.join(wrong[:3])}: rewardd serves adapters of linear layers and "
            f"their modules_to_save; {MERGE}"
        )
