"""The engine: loaded reward models behind one interface, `Scorer` (see `rm_core.types`)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch

from rm_core.checkpoint import RewardModel, load_reward_model
from rm_core.engine.forward import Forward, choose_forward
from rm_core.errors import ConfigurationError, EngineClosed, EngineError, OutOfMemory
from rm_core.text import ReadRule
from rm_core.types import (
    ROLES,
    Dialogue,
    Encoded,
    EncodedItem,
    ModelProfile,
    Role,
    Truncation,
)

DType = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """One model with the way it is run."""

    reward_model: RewardModel
    forward: Forward
    text_identity: str


class Engine:
    """Scores dialogues with one or two reward models; implements `rm_core.types.Scorer`.

    Args:
        models: the loaded checkpoints by role; at least one.
    """

    def __init__(self, models: Mapping[Role, RewardModel]) -> None:
        if not models:
            raise ConfigurationError("no reward model given; name a safety or helpfulness model")
        self._models: dict[Role, _Loaded] = {
            role: _Loaded(models[role], choose_forward(models[role]), _text_identity(models[role]))
            for role in ROLES
            if role in models
        }
        self._closed = False

    @property
    def roles(self) -> tuple[Role, ...]:
        """The loaded models' roles, safety first."""
        return tuple(self._models)

    @property
    def profiles(self) -> Mapping[Role, ModelProfile]:
        """The loaded models, by role."""
        return {role: loaded.reward_model.profile for role, loaded in self._models.items()}

    def encode(self, dialogue: Dialogue, *, truncate: Truncation = "error") -> EncodedItem:
        """Token ids of a dialogue for every model; thread-safe.

        Models that read text alike share one encoding.

        Raises:
            InputError: this dialogue can't be scored; others can.
        """
        by_identity: dict[str, Encoded] = {}
        by_role: dict[Role, Encoded] = {}
        for role, loaded in self._models.items():
            identity = loaded.text_identity
            if identity not in by_identity:
                encoder = loaded.reward_model.encoder
                by_identity[identity] = encoder.encode(dialogue, truncate=truncate)
            by_role[role] = by_identity[identity]
        return EncodedItem(by_role)

    def forward(self, items: Sequence[EncodedItem]) -> list[dict[Role, float]]:
        """Raw rewards of each item, in order; called from one thread.

        Raises:
            OutOfMemory: the items don't fit the device together.
            EngineError: the forward failed, or the engine is closed.
        """
        if self._closed:
            raise EngineClosed("the engine is closed")
        if not items:
            return []
        rewards: list[dict[Role, float]] = [{} for _ in items]
        for role, loaded in self._models.items():
            try:
                values = loaded.forward.rewards([item.by_role[role] for item in items])
            except torch.OutOfMemoryError as error:
                raise OutOfMemory(f"{len(items)} texts do not fit the device together") from error
            except RuntimeError as error:
                if "not enough memory" in str(error):  # the CPU allocator's words
                    raise OutOfMemory(f"{len(items)} texts do not fit in memory") from error
                raise EngineError(f"the {role} model's forward failed: {error}") from error
            for reward, value in zip(rewards, values, strict=True):
                reward[role] = value
        return rewards

    def describe(self) -> dict[str, Any]:
        """What is loaded and how it is run, as JSON values, for /v1/info."""
        return {role: _describe(loaded) for role, loaded in self._models.items()}

    def close(self) -> None:
        """Refuse further work."""
        self._closed = True


def load_engine(
    *,
    safety: str | None = None,
    helpfulness: str | None = None,
    device: str = "auto",
    dtype: DType = "auto",
    read: ReadRule | None = None,
) -> Engine:
    """Load one or two checkpoints and decide how each is run.

    Args:
        safety: directory or hub name of the safety model; None for none.
        helpfulness: likewise.
        device: "auto" takes CUDA where there is one, else the CPU.
        dtype: of the trunk; "auto" is bfloat16 on CUDA and float32 on the CPU.
        read: overrides the position that the heads read.

    Raises:
        CheckpointError: a checkpoint can't be used.
        ConfigurationError: no model, or a device that the machine lacks.
    """
    where = _device(device)
    names: dict[Role, str | None] = {"safety": safety, "helpfulness": helpfulness}
    return Engine(
        {
            role: load_reward_model(name, role, device=where, dtype=_dtype(dtype, where), read=read)
            for role, name in names.items()
            if name is not None
        }
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigurationError(f"{name!r} is no device; try auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError(f"device {name!r} asked for, but torch sees no CUDA device here")
    return device


def _dtype(name: DType, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in get_args(DType):
        raise ConfigurationError(f"{name!r} is no dtype; try {', '.join(get_args(DType))}")
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _text_identity(model: RewardModel) -> str:
    """Equal for models that turn every dialogue into the same ids and read position."""
    encoder = model.encoder
    parts = (encoder.tokenizer_fingerprint, repr(encoder.contract), repr(encoder.pad_token_id))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _describe(loaded: _Loaded) -> dict[str, Any]:
    model = loaded.reward_model.model
    manifest = loaded.reward_model.manifest
    return {
        **asdict(loaded.reward_model.profile),
        "architecture": type(model).__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "path": loaded.forward.path,
        "path_reason": loaded.forward.reason,
        "position": loaded.reward_model.encoder.contract.to_json(),
        "manifest": manifest is not None,
    }
