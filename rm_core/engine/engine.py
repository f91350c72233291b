"""The engine: loaded reward models behind one interface, `Scorer` (see `rm_core.types`)."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, get_args

import torch

from rm_core.checkpoint.adapters import SharedBases
from rm_core.checkpoint.load import RewardModel, load_reward_model
from rm_core.checkpoint.open_files import NO_CAUTION, Caution
from rm_core.checkpoint.shared_trunks import SharedTrunks
from rm_core.checkpoint.source import ModelSource
from rm_core.engine.golden import refuse_unsound_rewards
from rm_core.engine.options import AS_LOADED, EngineOptions
from rm_core.engine.prepare import averages, on_base_of, prepare_trunks, text_identity
from rm_core.engine.reward_cache import RewardCache
from rm_core.engine.run import RunTrunk
from rm_core.engine.trunk.precision import Precision
from rm_core.engine.trunk.room import fitted, room_told
from rm_core.engine.trunk.shared import hold_once
from rm_core.engine.trunk.vocabulary import embedding_rows
from rm_core.errors import (
    ConfigurationError,
    EngineClosed,
    InputError,
    ReadsWholeText,
)
from rm_core.text.contract import NO_OVERRIDES, ContractOverrides
from rm_core.text.positions import response_positions
from rm_core.types import (
    Dialogue,
    DType,
    Encoded,
    EncodedItem,
    EngineCacheStats,
    ItemRewards,
    ModelName,
    ModelProfile,
    RewardInput,
    TokenIds,
    Truncation,
)
from rm_core.types.caches import total


class Engine:
    """Scores dialogues with named reward models; implements `rm_core.types.Scorer`.

    Models whose trunks hold the same weights and that read text alike run as one trunk with a head
    for each, and only one trunk stays in memory. LoRA adapters on one base run side by side.

    Args:
        models: the loaded checkpoints by name, at least one; their order is that of all rewards.
        options: how they are run.
        precision: what trunks loaded in float32 are reduced to; the error is measured.
    """

    def __init__(
        self,
        models: Mapping[ModelName, RewardModel],
        options: EngineOptions = AS_LOADED,
        *,
        precision: Precision = "float32",
    ) -> None:
        if not models:
            raise ConfigurationError("no reward model given")
        self._promised = {name: model.profile.max_length for name, model in models.items()}
        self._models = {name: fitted(model) for name, model in models.items()}
        self._rows = {name: embedding_rows(model.model) for name, model in self._models.items()}
        self._precision = precision
        self._text_identity = {name: text_identity(m) for name, m in self._models.items()}
        vocabularies = {m.encoder.vocabulary_fingerprint for m in self._models.values()}
        self._one_vocabulary = len(vocabularies) == 1
        self._trunks = prepare_trunks(self._models, options, precision)
        self._demands = {name: t.forward.demands for t in self._trunks for name in t.names}
        self._reads_positions = all(trunk.forward.reads_positions for trunk in self._trunks)
        self._reward_cache = RewardCache(
            options.reward_cache_bytes,
            [name for name, model in self._models.items() if averages(model)],
        )
        self._closed = False

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
        checked: set[Hashable] = set()
        for name, model in self._models.items():
            identity = self._text_identity[name]
            if identity not in by_identity:
                by_identity[identity] = model.encoder.encode(dialogue, truncate=truncate)
            by_model[name] = by_identity[identity]
            check = (identity, self._rows[name], self._demands[name])
            if check not in checked:  # once for all heads of a trunk
                checked.add(check)
                self._check(name, by_model[name])
            if averages(model):
                response_positions(by_model[name])  # refused here, not together with others later
        return EncodedItem(by_model, content_digest=self._reward_cache.content_digest(by_model))

    def _check(self, name: ModelName, text: Encoded) -> None:
        """Refuse a text that this model would raise on, in the middle of a batch with others.

        Raises:
            InputError: an id without an embedding, or the text lacks what the model demands.
        """
        rows, largest = self._rows[name], max(text.input_ids)
        if rows is not None and largest >= rows:
            raise InputError(
                f"the {name} model's tokenizer gives id {largest}, and its embedding knows ids up "
                f"to {rows - 1}; leave the token out, or resize the model's embedding"
            )
        self._demands[name].check(text)

    def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
        """Raw rewards of each item where it is read, in order; called from one thread.

        Raises:
            OutOfMemory: the items don't fit the device together.
            EngineError: the forward failed, or the engine is closed.
        """
        rewards: list[ItemRewards] = [dict.fromkeys(self._models, ()) for _ in items]
        for trunk, texts in self._texts(items):
            found = iter(trunk.rewards(texts))
            for own, text in zip(rewards, texts, strict=True):
                rows = islice(found, 1 + len(text.extra_positions))
                own.update(zip(trunk.names, zip(*rows, strict=True), strict=True))
        for item, own in zip(items, rewards, strict=True):
            self._reward_cache.keep(item, own)
        return rewards

    def plan_ahead(self, items: Sequence[EncodedItem]) -> None:
        """Plan the packs of a coming forward of exactly these items; beside another forward."""
        for trunk, texts in self._texts(items):
            trunk.forward.plan_ahead(texts)

    def _texts(self, items: Sequence[EncodedItem]) -> Iterator[tuple[RunTrunk, list[Encoded]]]:
        """The trunks with what each reads of the items; none where there are no items."""
        if self._closed:
            raise EngineClosed("the engine is closed")
        for trunk in self._trunks if items else ():
            yield trunk, [_scoped(item, trunk) for item in items]

    def cached_tokens(self, item: EncodedItem) -> int:
        """How many leading tokens a forward now would compute in no trunk; thread-safe."""
        return min(
            trunk.forward.cached_tokens(text)
            for trunk, text in ((trunk, _scoped(item, trunk)) for trunk in self._trunks)
        )

    def cached_rewards(self, item: EncodedItem) -> ItemRewards | None:
        """What `forward` gave for an equal item before; None where it isn't kept. Thread-safe."""
        return self._reward_cache.find(item)

    def cache_stats(self) -> EngineCacheStats:
        """Sizes and counts of the caches; thread-safe."""
        prefixes = [
            trunk.forward.prefix_cache.stats()
            for trunk in self._trunks
            if trunk.forward.prefix_cache is not None
        ]
        return EngineCacheStats(total(prefixes), self._reward_cache.stats())

    def describe(self) -> dict[str, Any]:
        """What is loaded and how it is run, as JSON values, for /v1/info."""
        trunks = {name: trunk for trunk in self._trunks for name in trunk.names}
        return {
            name: {
                **trunks[name].describe(model, self._precision, on_base_of(name, self._models)),
                "max_length_reason": room_told(model, self._promised[name]),
            }
            for name, model in self._models.items()
        }

    def close(self) -> None:
        """Refuse further work."""
        self._closed = True

    def release(self) -> None:
        """Give the weights' memory back, even where something still holds the engine."""
        for model in self._models.values():
            for tensor in (*model.model.parameters(), *model.model.buffers()):
                tensor.data = tensor.data.new_empty(0)
        self._trunks.clear()


def _scoped(item: EncodedItem, trunk: RunTrunk) -> Encoded:
    """What a trunk reads of an item, within the item's scope."""
    text = item.by_model[trunk.names[0]]
    return replace(text, cache_scope=item.cache_scope) if item.cache_scope else text


def load_engine(
    models: Mapping[ModelName, str | ModelSource | None],
    options: EngineOptions = AS_LOADED,
    *,
    device: str = "auto",
    overrides: Mapping[ModelName, ContractOverrides] | None = None,
    caution: Caution = NO_CAUTION,
) -> Engine:
    """Load checkpoints and decide how each is run.

    Args:
        models: directory or hub name of each model, or what of it is read, by the name that it is
            loaded under; None for none of that name.
        options: how they are run.
        device: "auto" takes CUDA where there is one, else the CPU.
        overrides: of how models read texts, by their names.
        caution: where all of them must lie, and where each is tried before it is loaded; what was
            tried so is then judged by its rewards, too.

    Raises:
        CheckpointError: a checkpoint can't be used.
        ConfigurationError: no model, a device that the machine lacks, a model that can't run
            deterministically where that is asked for, or options that exclude each other.
    """
    where = _device(device)
    if options.compile_layers and (options.deterministic or where.type != "cuda"):
        raise ConfigurationError(
            "layers are compiled on CUDA alone, and not with `deterministic`, whose products have "
            "shapes of their own; leave compiling out"
        )
    wanted = _precision(options.dtype, where)
    # On the CPU the float32 model is loaded first, so that the loss can be measured against it.
    reduce = wanted != "float32" and where.type == "cpu"
    load_as = torch.float32 if reduce else getattr(torch, wanted)
    given = {name: source for name, source in models.items() if source is not None}
    trunks = SharedTrunks[Any]() if len(given) > 1 else None
    load = partial(
        load_reward_model,
        device=where,
        dtype=load_as,
        bases=SharedBases(),
        trunks=trunks,
        caution=caution,
    )
    loaded: dict[ModelName, RewardModel] = {}
    for name, source in given.items():
        loaded[name] = load(source, name, overrides=(overrides or {}).get(name, NO_OVERRIDES))
        hold_once(loaded[name].model, [other.model for other in loaded.values()])
    del load, trunks  # what they hold of models is in the engine's hands now
    engine = Engine(loaded, options, precision=wanted if reduce else "float32")
    if caution.trial is not None:
        refuse_unsound_rewards(engine, loaded)
    return engine


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigurationError(f"{name!r} is no device; try auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError(
            f"device {name!r} asked for, but torch sees no CUDA device here; leave --device out to "
            "run on the CPU, or check the driver (nvidia-smi) and that torch is a CUDA build"
        )
    return device


def _precision(name: DType, device: torch.device) -> Precision:
    if name == "auto":
        return "bfloat16" if device.type == "cuda" else "float32"
    if name not in get_args(DType):
        raise ConfigurationError(f"{name!r} is no dtype; try {', '.join(get_args(DType))}")
    if name == "int8" and device.type != "cpu":
        raise ConfigurationError("dtype int8 is for the CPU; on CUDA try bfloat16")
    return name
