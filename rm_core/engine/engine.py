"""The engine: loaded reward models behind one interface, `Scorer` (see `rm_core.types`)."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import Any, get_args

import torch

from rm_core.checkpoint.adapters import SharedBases
from rm_core.checkpoint.heads import has_head_on_tokens, head_of
from rm_core.checkpoint.load import RewardModel, load_reward_model
from rm_core.engine.forward.base import Forward
from rm_core.engine.forward.choose import choose_forward
from rm_core.engine.forward.mean_head import AveragingForward
from rm_core.engine.forward.padded import PaddedForward
from rm_core.engine.forward.self_test import random_texts
from rm_core.engine.trunk.precision import (
    Precision,
    PrecisionError,
    precision_error,
    reduce_precision,
)
from rm_core.engine.trunk.shared import same_trunk
from rm_core.errors import (
    CheckpointError,
    ConfigurationError,
    EngineClosed,
    EngineError,
    InputError,
    OutOfMemory,
    ReadsWholeText,
)
from rm_core.text.contract import NO_OVERRIDES, ContractOverrides
from rm_core.text.positions import response_positions
from rm_core.types import (
    Dialogue,
    DType,
    Encoded,
    EncodedItem,
    ItemRewards,
    ModelName,
    ModelProfile,
    RewardInput,
    TokenIds,
    Truncation,
)

_MEASURED_TEXTS = 16


@dataclass(frozen=True, slots=True)
class _Trunk:
    """One trunk, the models whose heads sit on it, and the way it is run.

    Attributes:
        names: of the models, in the order of the forward's columns.
        forward: how the trunk is run.
        precision_error: of reduced precision, where it was measured.
    """

    names: tuple[ModelName, ...]
    forward: Forward
    precision_error: PrecisionError | None = None


class Engine:
    """Scores dialogues with named reward models; implements `rm_core.types.Scorer`.

    Models whose trunks hold the same weights and that read text alike run as one trunk with a head
    for each, and only one trunk stays in memory.

    Args:
        models: the loaded checkpoints by name, at least one; their order is that of all rewards.
        precision: what trunks loaded in float32 are reduced to; the error is measured.
        deterministic: whether a text gets the same bits in any company, on one machine.
        compile_layers: whether torch compiles the trunks' layers.
    """

    def __init__(
        self,
        models: Mapping[ModelName, RewardModel],
        *,
        precision: Precision = "float32",
        deterministic: bool = False,
        compile_layers: bool = False,
    ) -> None:
        if not models:
            raise ConfigurationError("no reward model given")
        self._models = dict(models)
        self._precision = precision
        self._deterministic = deterministic
        self._compile_layers = compile_layers
        self._text_identity = {name: _text_identity(m) for name, m in self._models.items()}
        vocabularies = {m.encoder.vocabulary_fingerprint for m in self._models.values()}
        self._one_vocabulary = len(vocabularies) == 1
        by_trunk = self._names_by_trunk()
        exact = [self._exact_rewards(names) for names in by_trunk]
        # Only now, as adapters on one base are reduced together.
        self._reduce_precision(by_trunk)
        self._trunks = list(map(self._prepare, by_trunk, exact))
        self._reads_positions = all(trunk.forward.reads_positions for trunk in self._trunks)
        self._closed = False

    def _names_by_trunk(self) -> list[tuple[ModelName, ...]]:
        """The models that can run as one trunk, together; in order of their first ones."""
        trunks: list[list[ModelName]] = []
        for name in self._models:
            own = next((names for names in trunks if self._share_trunk(names[0], name)), None)
            if own is None:
                trunks.append([name])
            else:
                own.append(name)
        return [tuple(names) for names in trunks]

    def _share_trunk(self, one: ModelName, other: ModelName) -> bool:
        alike = self._text_identity[one] == self._text_identity[other]
        return alike and same_trunk(self._models[one].model, self._models[other].model)

    def _exact_rewards(self, names: tuple[ModelName, ...]) -> list[list[float]]:
        """A trunk's rewards of random texts before its precision is reduced; else none."""
        if self._precision == "float32":
            return []
        first, *others = (self._models[name] for name in names)
        heads = [head_of(other.model) for other in others]
        return PaddedForward(first.model, heads=heads, reason="reference").rewards(
            _probe_texts(first)
        )

    def _reduce_precision(self, by_trunk: list[tuple[ModelName, ...]]) -> None:
        for names in by_trunk:
            first = self._models[names[0]]
            if self._precision == "int8" and first.base is not None:
                raise ConfigurationError(
                    f"{first.profile.name} is an adapter, and dtype int8 is for full checkpoints; "
                    "take another dtype, or merge it into its base and serve the result"
                )
            reduce_precision(first.model, self._precision)

    def _prepare(self, names: tuple[ModelName, ...], exact: list[list[float]]) -> _Trunk:
        """Choose how to run a trunk, and measure what reduced precision has lost."""
        first, *others = (self._models[name] for name in names)
        heads = [head_of(other.model) for other in others]
        forward = choose_forward(
            first,
            heads,
            reduced=bool(exact),
            deterministic=self._deterministic,
            compile_layers=self._compile_layers,
        )
        error = precision_error(exact, forward.rewards(_probe_texts(first))) if exact else None
        for other in others:
            # The same weights once: the other trunks' memory is given back.
            setattr(other.model, other.model.base_model_prefix, first.model.base_model)
        averages = [_averages(self._models[name]) for name in names]
        return _Trunk(
            names, AveragingForward(forward, averages) if any(averages) else forward, error
        )

    def _on_base_of(self, name: ModelName) -> list[ModelName]:
        """The other adapters whose base's weights are this one's, in the same memory."""

        def weights(model: RewardModel) -> set[int]:
            adapter = model.base is not None
            return {id(p) for p in model.model.base_model.parameters()} if adapter else set()

        own = weights(self._models[name])
        return [
            other for other, model in self._models.items() if other != name and own & weights(model)
        ]

    @property
    def model_names(self) -> tuple[ModelName, ...]:
        """The loaded models, in the order that they were given in."""
        return tuple(self._models)

    @property
    def shares_prefixes(self) -> bool:
        """Whether every trunk computes a pack's common prefixes once."""
        return all(trunk.forward.shares_prefixes for trunk in self._trunks)

    @property
    def profiles(self) -> Mapping[ModelName, ModelProfile]:
        """What is known of the loaded models, in their order."""
        return {name: model.profile for name, model in self._models.items()}

    def encode(self, dialogue: RewardInput, *, truncate: Truncation = "error") -> EncodedItem:
        """Token ids of a dialogue for every model; thread-safe.

        Models that read text alike share one encoding.

        Raises:
            InputError: this dialogue can't be scored; others can.
        """
        if isinstance(dialogue, TokenIds) and not self._one_vocabulary:
            raise InputError(
                "the loaded models cut text into different tokens, so that ids can't mean the same "
                f"to {'both' if len(self._models) == 2 else 'all of them'}; send the text",
                field="ids",
            )
        if (
            isinstance(dialogue, Dialogue)
            and dialogue.read_at != "end"
            and not self._reads_positions
        ):
            raise ReadsWholeText(
                "a loaded model reads the text as a whole, so that its tokens and steps have no "
                "rewards of their own"
            )
        by_identity: dict[str, Encoded] = {}
        by_model: dict[ModelName, Encoded] = {}
        for name, model in self._models.items():
            identity = self._text_identity[name]
            if identity not in by_identity:
                by_identity[identity] = model.encoder.encode(dialogue, truncate=truncate)
            by_model[name] = by_identity[identity]
            if _averages(model):
                response_positions(by_model[name])  # refused here, not together with others later
        return EncodedItem(by_model)

    def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
        """Raw rewards of each item where it is read, in order; called from one thread.

        Raises:
            OutOfMemory: the items don't fit the device together.
            EngineError: the forward failed, or the engine is closed.
        """
        rewards: list[ItemRewards] = [dict.fromkeys(self._models, ()) for _ in items]
        for trunk, texts in self._texts(items):
            found = iter(_run(trunk, texts))
            for own, text in zip(rewards, texts, strict=True):
                rows = islice(found, 1 + len(text.extra_positions))
                own.update(zip(trunk.names, zip(*rows, strict=True), strict=True))
        return rewards

    def plan_ahead(self, items: Sequence[EncodedItem]) -> None:
        """Plan the packs of a coming forward of exactly these items; beside another forward."""
        for trunk, texts in self._texts(items):
            trunk.forward.plan_ahead(texts)

    def _texts(self, items: Sequence[EncodedItem]) -> Iterator[tuple[_Trunk, list[Encoded]]]:
        """The trunks with what each reads of the items; none where there are no items."""
        if self._closed:
            raise EngineClosed("the engine is closed")
        for trunk in self._trunks if items else ():
            yield trunk, [item.by_model[trunk.names[0]] for item in items]

    def describe(self) -> dict[str, Any]:
        """What is loaded and how it is run, as JSON values, for /v1/info."""
        trunks = {name: trunk for trunk in self._trunks for name in trunk.names}
        return {
            name: _describe(model, trunks[name], self._precision, self._on_base_of(name))
            for name, model in self._models.items()
        }

    def close(self) -> None:
        """Refuse further work."""
        self._closed = True


def load_engine(
    models: Mapping[ModelName, str | None],
    *,
    device: str = "auto",
    dtype: DType = "auto",
    overrides: Mapping[ModelName, ContractOverrides] | None = None,
    deterministic: bool = False,
    compile_layers: bool = False,
) -> Engine:
    """Load checkpoints and decide how each is run.

    Args:
        models: directory or hub name of each model, by the name that it is loaded under; None for
            none of that name.
        device: "auto" takes CUDA where there is one, else the CPU.
        dtype: of the trunk; "auto" is bfloat16 on CUDA and float32 on the CPU. Where another is
            asked for on the CPU, the rewards' error is measured while loading.
        overrides: of how models read texts, by their names.
        deterministic: whether a text gets the same bits in any company, on one machine.
        compile_layers: whether torch compiles the layers of decoders, which takes a while at the
            start; for CUDA, and not with `deterministic`.

    Raises:
        CheckpointError: a checkpoint can't be used.
        ConfigurationError: no model, a device that the machine lacks, a model that can't run
            deterministically where that is asked for, or options that exclude each other.
    """
    where = _device(device)
    if compile_layers and (deterministic or where.type != "cuda"):
        raise ConfigurationError(
            "layers are compiled on CUDA alone, and not with `deterministic`, whose products have "
            "shapes of their own; leave compiling out"
        )
    wanted = _precision(dtype, where)
    # On the CPU the float32 model is loaded first, so that the loss can be measured against it.
    reduce = wanted != "float32" and where.type == "cpu"
    load_as = torch.float32 if reduce else getattr(torch, wanted)
    load = partial(load_reward_model, device=where, dtype=load_as, bases=SharedBases())
    return Engine(
        {
            name: load(checkpoint, name, overrides=(overrides or {}).get(name, NO_OVERRIDES))
            for name, checkpoint in models.items()
            if checkpoint is not None
        },
        precision=wanted if reduce else "float32",
        deterministic=deterministic,
        compile_layers=compile_layers,
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


def _precision(name: DType, device: torch.device) -> Precision:
    if name == "auto":
        return "bfloat16" if device.type == "cuda" else "float32"
    if name not in get_args(DType):
        raise ConfigurationError(f"{name!r} is no dtype; try {', '.join(get_args(DType))}")
    if name == "int8" and device.type != "cpu":
        raise ConfigurationError("dtype int8 is for the CPU; on CUDA try bfloat16")
    return name


def _probe_texts(model: RewardModel) -> list[Encoded]:
    return random_texts(model.model, model.profile.max_length, count=_MEASURED_TEXTS)


def _averages(model: RewardModel) -> bool:
    """Whether a response's reward is the mean over its tokens.

    Raises:
        CheckpointError: the checkpoint says so, and its head can't be read at tokens.
    """
    if model.manifest is None or model.manifest.head != "mean":
        return False
    if not has_head_on_tokens(model.model):
        raise CheckpointError(
            f"{model.profile.name} averages rewards over the response's tokens, but the head of "
            f"{type(model.model).__name__} reads the text as a whole; train it again with another "
            "`head`"
        )
    return True


def _text_identity(model: RewardModel) -> str:
    """Equal for models that turn every dialogue into the same ids and read position."""
    encoder = model.encoder
    parts = (encoder.tokenizer_fingerprint, repr(encoder.contract), repr(encoder.pad_token_id))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _run(trunk: _Trunk, texts: list[Encoded]) -> list[list[float]]:
    """A trunk's rewards of texts, with torch's failures told apart."""
    try:
        return trunk.forward.rewards(texts)
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(f"{len(texts)} texts do not fit the device together") from error
    except RuntimeError as error:
        if "not enough memory" in str(error):  # the CPU allocator's words
            raise OutOfMemory(f"{len(texts)} texts do not fit in memory") from error
        raise EngineError(f"the {trunk.names[0]} model's forward failed: {error}") from error


def _describe(
    loaded: RewardModel, trunk: _Trunk, precision: Precision, shares_base_with: list[ModelName]
) -> dict[str, Any]:
    model = loaded.model
    return {
        **asdict(loaded.profile),
        "architecture": type(model).__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "device": str(model.device),
        "dtype": precision if precision != "float32" else str(model.dtype).removeprefix("torch."),
        "precision_error": None if trunk.precision_error is None else asdict(trunk.precision_error),
        "path": trunk.forward.path,
        "path_reason": trunk.forward.reason,
        "shares_trunk_with": [name for name in trunk.names if name != loaded.profile.role],
        "adapter": loaded.base is not None,
        "base": loaded.base,
        "shares_base_with": shares_base_with,
        "position": loaded.encoder.contract.to_json(),
        "reads_places": trunk.forward.reads_positions,
        "manifest": loaded.manifest is not None,
        "head": "last_token" if loaded.manifest is None else loaded.manifest.head,
        "notes": list(loaded.notes),
    }
