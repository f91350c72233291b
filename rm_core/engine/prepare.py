"""Preparing loaded models: which of them share a trunk, how exactly it runs, by which way."""

import hashlib
from collections.abc import Mapping, Sequence

from rm_core.checkpoint.heads import has_head_on_tokens, head_of
from rm_core.checkpoint.load import RewardModel
from rm_core.engine.forward.batched import BatchedForward
from rm_core.engine.forward.choose import choose_forward
from rm_core.engine.forward.mean_head import AveragingForward
from rm_core.engine.forward.self_test import random_texts
from rm_core.engine.options import EngineOptions
from rm_core.engine.run import RunTrunk
from rm_core.engine.trunk.precision import Precision, precision_error, reduce_precision
from rm_core.engine.trunk.shared import same_trunk
from rm_core.errors import CheckpointError, ConfigurationError
from rm_core.types import Encoded, ModelName

_MEASURED_TEXTS = 16

Names = tuple[ModelName, ...]
"""Of models whose trunks are the same."""


def prepare_trunks(
    models: Mapping[ModelName, RewardModel], options: EngineOptions, precision: Precision
) -> list[RunTrunk]:
    """Put models on one trunk together, and choose how each trunk is run.

    Args:
        models: by name, in order; of equal trunks only the first one's stays in memory.
        options: how they are run.
        precision: what trunks loaded in float32 are reduced to; the error is measured.

    Raises:
        ConfigurationError: the options don't suit a model.
        UnsupportedModel: no way gives a model's own rewards.
    """
    by_trunk = _names_by_trunk(models)
    exact = [_exact_rewards([models[name] for name in names], precision) for names in by_trunk]
    # Only now, as adapters on one base are reduced together.
    for names in by_trunk:
        _reduce(models[names[0]], precision)
    return [
        _run(names, [models[name] for name in names], options, rewards)
        for names, rewards in zip(by_trunk, exact, strict=True)
    ]


def _names_by_trunk(models: Mapping[ModelName, RewardModel]) -> list[Names]:
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


def _run(
    names: Names, models: Sequence[RewardModel], options: EngineOptions, exact: list[list[float]]
) -> RunTrunk:
    """Choose how to run a trunk, and measure what reduced precision has lost."""
    first, *others = models
    heads = [head_of(other.model) for other in others]
    forward = choose_forward(first, heads, reduced=bool(exact), options=options)
    error = precision_error(exact, forward.rewards(_probe_texts(first))) if exact else None
    for other in others:
        # The same weights once: the other trunks' memory is given back.
        setattr(other.model, other.model.base_model_prefix, first.model.base_model)
    means = list(map(averages, models))
    return RunTrunk(names, AveragingForward(forward, means) if any(means) else forward, error)


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
