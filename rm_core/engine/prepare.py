"""Preparing loaded models: which of them share a trunk, how exactly it runs, by which way."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rm_core.checkpoint.heads import has_head_on_tokens, head_of
from rm_core.checkpoint.load import RewardModel
from rm_core.checkpoint.low_rank import LowRankPart, low_rank_parts, without_adapter
from rm_core.engine.forward.base import Forward
from rm_core.engine.forward.batched import BatchedForward
from rm_core.engine.forward.choose import choose_forward
from rm_core.engine.forward.choose_adapters import choose_side_by_side
from rm_core.engine.forward.mean_head import AveragingForward
from rm_core.engine.forward.self_test import random_texts
from rm_core.engine.forward.side_by_side import OnBase
from rm_core.engine.options import EngineOptions
from rm_core.engine.prefix_cache.bound import prefix_cache_bytes
from rm_core.engine.run import RunTrunk
from rm_core.engine.trunk.precision import (
    Precision,
    PrecisionError,
    precision_error,
    reduce_precision,
)
from rm_core.engine.trunk.shared import same_trunk
from rm_core.errors import CheckpointError, ConfigurationError
from rm_core.types import Encoded, ModelName

_MEASURED_TEXTS = 16


@dataclass(frozen=True, slots=True)
class _Trunk:
    """Models whose trunks are the same.

    Attributes:
        names: in order.
        models: of those names.
        parts: what the first one's adapter adds to its base, none for a full checkpoint; or why it
            can only be run as peft does.
        exact: rewards of random texts before precision is reduced, (texts, models); else none.
    """

    names: tuple[ModelName, ...]
    models: tuple[RewardModel, ...]
    parts: Mapping[str, LowRankPart] | str
    exact: list[list[float]]

    @property
    def first(self) -> RewardModel:
        """The model whose trunk is run."""
        return self.models[0]

    @property
    def is_adapted(self) -> bool:
        """Whether it is a base with low-rank parts and nothing else."""
        return bool(self.parts) and not isinstance(self.parts, str)

    @property
    def heads(self) -> list[Any]:
        """Of its models, in order."""
        return [head_of(model.model) for model in self.models]


def prepare_trunks(
    models: Mapping[ModelName, RewardModel], options: EngineOptions, precision: Precision
) -> list[RunTrunk]:
    """Put models on one trunk or base together, and choose how each is run.

    Args:
        models: by name, in order; of equal trunks only the first one's stays in memory.
        options: how they are run.
        precision: what trunks loaded in float32 are reduced to; the error is measured.

    Raises:
        ConfigurationError: the options don't suit a model.
        UnsupportedModel: no way gives a model's own rewards.
    """
    by_trunk = _names_by_trunk(models)
    (device,) = {model.model.device.type for model in models.values()}
    share = prefix_cache_bytes(options.prefix_cache_bytes, device) // len(by_trunk)
    options = replace(options, prefix_cache_bytes=share)
    exact = [_exact_rewards([models[name] for name in names], precision) for names in by_trunk]
    # Only now, as adapters on one base are reduced together.
    for names in by_trunk:
        _reduce(models[names[0]], precision)
    trunks = [
        _trunk(names, models, rewards) for names, rewards in zip(by_trunk, exact, strict=True)
    ]
    return [run for group in _by_base(trunks) for run in _run_group(group, options)]


def _trunk(
    names: tuple[ModelName, ...],
    models: Mapping[ModelName, RewardModel],
    exact: list[list[float]],
) -> _Trunk:
    own = tuple(models[name] for name in names)
    return _Trunk(names, own, low_rank_parts(own[0].model), exact)


def _names_by_trunk(models: Mapping[ModelName, RewardModel]) -> list[tuple[ModelName, ...]]:
    """The models that can run as one trunk, together; in order of their first ones."""
    identity = {name: text_identity(model) for name, model in models.items()}

    def share(one: ModelName, other: ModelName) -> bool:
        alike = identity[one] == identity[other]
        return alike and same_trunk(models[one].model, models[other].model)

    trunks: list[list[ModelName]] = []
    for name in models:
        own = next((names for names in trunks if share(names[0], name)), None)
        if own is None:
            trunks.append([name])
        else:
            own.append(name)
    return [tuple(names) for names in trunks]


def _exact_rewards(models: Sequence[RewardModel], precision: Precision) -> list[list[float]]:
    """A trunk's rewards of random texts before its precision is reduced; else none."""
    if precision == "float32":
        return []
    first, *others = models
    heads = [head_of(other.model) for other in others]
    reference = BatchedForward(first.model, heads=heads, reason="reference", together="one_by_one")
    return reference.rewards(_probe_texts(first))


def _reduce(model: RewardModel, precision: Precision) -> None:
    if precision == "int8" and model.base is not None:
        raise ConfigurationError(
            f"{model.profile.name} is an adapter, and dtype int8 is for full checkpoints; "
            "take another dtype, or merge it into its base and serve the result"
        )
    reduce_precision(model.model, precision)


def _by_base(trunks: Sequence[_Trunk]) -> list[list[_Trunk]]:
    """The trunks that can run side by side, together: adapters on one base, and the base itself."""
    groups: list[list[_Trunk]] = []
    # Adapters first: a full checkpoint joins them, as its copy of the weights is the one let go.
    for trunk in sorted(trunks, key=lambda trunk: not trunk.is_adapted):
        own = next((group for group in groups if _joins(trunk, group[0])), None)
        if own is None:
            groups.append([trunk])
        else:
            own.append(trunk)
    return groups


def _joins(trunk: _Trunk, first: _Trunk) -> bool:
    """Whether a trunk can run side by side with an adapter and those that have joined it."""
    if not first.is_adapted or isinstance(trunk.parts, str):
        return False
    if text_identity(trunk.first) != text_identity(first.first):
        return False
    base, own = (without_adapter(each.first.model) for each in (first, trunk))
    if not trunk.is_adapted:
        return same_trunk(base, own)
    places = [
        {name: id(tensor) for name, tensor in model.base_model.named_parameters()}
        for model in (base, own)
    ]
    return places[0] == places[1]


def _run_group(group: Sequence[_Trunk], options: EngineOptions) -> list[RunTrunk]:
    """Run trunks side by side, or each by itself where they can't."""
    if not group[0].parts:
        return [_run_alone(trunk, options, ()) for trunk in group]
    obstacle = _obstacle(group[0].parts, options)
    if obstacle is None:
        together = _run_together(group, options)
        if not isinstance(together, str):
            return [together]
        obstacle = together
    told = f"not by low-rank parts beside its base's products, as {obstacle}"
    return [_run_alone(trunk, options, (told,) if trunk.parts else ()) for trunk in group]


def _obstacle(parts: Mapping[str, LowRankPart] | str, options: EngineOptions) -> str | None:
    """Why an adapter's parts can't be tried beside its base; None where they can."""
    if isinstance(parts, str):
        return f"its adapter has {parts}"
    if options.deterministic:
        return "`deterministic` is set"
    return "`compile_layers` is set" if options.compile_layers else None


def _run_together(group: Sequence[_Trunk], options: EngineOptions) -> RunTrunk | str:
    """Run trunks side by side, and measure what reduced precision has lost; or why they can't."""
    first = group[0].first
    members = [
        OnBase(trunk.first.model, trunk.parts, trunk.heads)
        for trunk in group
        if not isinstance(trunk.parts, str)
    ]
    reduced = bool(group[0].exact)
    # One cache for all of them, as each would have had one.
    share = (options.prefix_cache_bytes or 0) * len(group)
    forward = choose_side_by_side(
        members,
        first.profile.max_length,
        reduced=reduced,
        options=replace(options, prefix_cache_bytes=share),
    )
    if isinstance(forward, str):
        return forward
    found = forward.rewards(_probe_texts(first)) if reduced else []
    errors: dict[ModelName, PrecisionError] = {}
    for trunk in group:
        if reduced:
            begin, end = len(errors), len(errors) + len(trunk.names)
            error = precision_error(trunk.exact, [row[begin:end] for row in found])
            errors.update(dict.fromkeys(trunk.names, error))
        _share_memory(trunk)
        if not trunk.is_adapted:
            # Its own copy of the base is given back as well.
            setattr(
                trunk.first.model,
                trunk.first.model.base_model_prefix,
                without_adapter(first.model).base_model,
            )
    return RunTrunk(
        tuple(name for trunk in group for name in trunk.names),
        _averaging(forward, [model for trunk in group for model in trunk.models]),
        errors,
        tuple(trunk.names for trunk in group),
    )


def _run_alone(trunk: _Trunk, options: EngineOptions, ruled_out: Sequence[str]) -> RunTrunk:
    """Choose how to run a trunk, and measure what reduced precision has lost."""
    forward = choose_forward(
        trunk.first,
        trunk.heads[1:],
        reduced=bool(trunk.exact),
        options=options,
        ruled_out=ruled_out,
    )
    errors: dict[ModelName, PrecisionError] = {}
    if trunk.exact:
        error = precision_error(trunk.exact, forward.rewards(_probe_texts(trunk.first)))
        errors = dict.fromkeys(trunk.names, error)
    _share_memory(trunk)
    return RunTrunk(trunk.names, _averaging(forward, trunk.models), errors)


def _share_memory(trunk: _Trunk) -> None:
    """The same weights once: the other trunks' memory is given back."""
    for other in trunk.models[1:]:
        setattr(other.model, other.model.base_model_prefix, trunk.first.model.base_model)


def _averaging(forward: Forward, models: Sequence[RewardModel]) -> Forward:
    """A forward whose columns are these models' heads, with the means that some of them take."""
    means = list(map(averages, models))
    return AveragingForward(forward, means) if any(means) else forward


def _probe_texts(model: RewardModel) -> list[Encoded]:
    return random_texts(model.model, model.profile.max_length, count=_MEASURED_TEXTS)


def averages(model: RewardModel) -> bool:
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


def text_identity(model: RewardModel) -> str:
    """Equal for models that turn every dialogue into the same ids and read position."""
    encoder = model.encoder
    parts = (encoder.tokenizer_fingerprint, repr(encoder.contract), repr(encoder.pad_token_id))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def on_base_of(name: ModelName, models: Mapping[ModelName, RewardModel]) -> list[ModelName]:
    """The other adapters whose base's weights are this one's, in the same memory."""

    def weights(model: RewardModel) -> set[int]:
        adapter = model.base is not None
        return {id(p) for p in model.model.base_model.parameters()} if adapter else set()

    own = weights(models[name])
    return [other for other, model in models.items() if other != name and own & weights(model)]
