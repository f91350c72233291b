"""Sequence classifiers with one label: plain transformers', and ours with a reward_model.json."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from rewardd.checkpoints.convert.lora import head_of_adapter, read_adapter
from rewardd.checkpoints.convert.named_head import head_from, read_named_head
from rewardd.checkpoints.convert.reading import READ_RULES, last_non_pad
from rewardd.checkpoints.convert.source import (
    Found,
    Head,
    Layout,
    LayoutName,
    ReadOptions,
    Source,
    architectures_of,
    normalisation_of,
)
from rewardd.checkpoints.convert.weights import Weights, shapes_of, take, unwrapped
from rm_core.checkpoint.adapters import HEAD
from rm_core.checkpoint.classifier import (
    CLASSIFIES,
    activation_of,
    hidden_head,
    num_labels_of,
)
from rm_core.checkpoint.heads import HEAD_BIAS
from rm_core.checkpoint.manifest import (
    MANIFEST_NAME,
    RewardModelManifest,
    read_manifest,
    verify_files,
)
from rm_core.checkpoint.source import LABEL_MARK
from rm_core.checkpoint.stored_heads import TOLD_BY_ARCHITECTURE, names_of
from rm_core.errors import CheckpointError, InvalidManifest, WrongNumLabels
from rm_core.text.contract import PositionContract, default_contract

HEAD_WEIGHT = "score.weight"
LEFT_BEHIND = "rewardd"
"""Key of config.json under which a plain checkpoint keeps what it can't say otherwise."""


def recognise_ours(found: Found) -> str | None:
    """Our manifest."""
    return f"it has {MANIFEST_NAME}" if (found.directory / MANIFEST_NAME).is_file() else None


def recognise_plain(found: Found) -> str | None:
    """An architecture of transformers', or peft's head, and no manifest."""
    if recognise_ours(found) is not None:
        return None
    if found.adapter is not None:
        return f"its adapter holds {HEAD}" if HEAD in found.tensors() else None
    named = [
        a
        for a in architectures_of(found.config)
        if a.endswith(CLASSIFIES) or a in TOLD_BY_ARCHITECTURE
    ]
    return f"config.json names the architecture {named[0]}" if named else None


def read_ours(found: Found, options: ReadOptions) -> Source:
    """A checkpoint of ours, its digests verified."""
    manifest = read_manifest(found.directory)
    if manifest is None:
        raise CheckpointError(f"{found.directory} has no {MANIFEST_NAME}")
    verify_files(found.directory, manifest)
    return _read(found, options, "rewardd", manifest.position, manifest)


def read_plain(found: Found, options: ReadOptions) -> Source:
    """A plain checkpoint; what an earlier conversion left behind in config.json counts."""
    if options.head is not None:
        return read_named_head(found, options, options.head, _default)
    return _read(found, options, "transformers", _position_of(found.config or {}), None)


def _read(
    found: Found,
    options: ReadOptions,
    layout: LayoutName,
    position: PositionContract | None,
    manifest: RewardModelManifest | None,
) -> Source:
    contract = _default if position is None else partial(_known, position=position)
    if found.adapter is not None:
        return read_adapter(
            found,
            options,
            layout=layout,
            head=head_of_adapter(found),
            contract=contract,
            manifest=manifest,
        )
    config = found.whole_config()
    weights = unwrapped(found.open(found.model, "model weights"))
    num_labels = num_labels_of(found.name, config)
    if num_labels != 1 and hidden_head(unwrapped(shapes_of(found.model, weights))) is None:
        raise WrongNumLabels(
            f"{found.directory} has {num_labels} labels, and what is converted has 1; it is served "
            f"as it is, one label a reward: {found.name}{LABEL_MARK}{num_labels - 1} for the last"
        )
    head, own = _head(found, config, weights, options)
    return Source(
        found=found,
        layout=layout,
        config=config,
        weights={name: read for name, read in weights.items() if name not in own},
        head=head,
        contract=contract,
        position=last_non_pad if position is None else READ_RULES[position.read],
        pad="keep",
        normalisation=normalisation_of(config),
        manifest=manifest,
    )


def _head(
    found: Found, config: Mapping[str, Any], weights: Weights, options: ReadOptions
) -> tuple[Head | None, set[str]]:
    """A decoder's head and the names of its tensors; none where the architecture has its own."""
    if HEAD_WEIGHT not in weights:
        return _hidden_head(found, config, weights, options)
    weight = take(weights, HEAD_WEIGHT, found.directory)
    bias = weights[HEAD_BIAS]() if HEAD_BIAS in weights else None
    left = (config.get(LEFT_BEHIND) or {}).get("head_bias")
    if bias is None and left is not None:
        bias = torch.tensor([float(left)], dtype=weight.dtype)
    return Head.of(weight, bias, found.directory), {HEAD_WEIGHT, HEAD_BIAS}


def _hidden_head(
    found: Found, config: Mapping[str, Any], weights: Weights, options: ReadOptions
) -> tuple[Head | None, set[str]]:
    stored = unwrapped(shapes_of(found.model, weights))
    head = hidden_head(stored)
    if head is None:
        return None, set()
    activation = options.head_activation or activation_of(found.name, head, config)
    return head_from(weights, head, activation, found), set(names_of(stored, head))


def _position_of(config: Mapping[str, Any]) -> PositionContract | None:
    """The contract that a conversion from ours left in config.json."""
    left = (config.get(LEFT_BEHIND) or {}).get("position")
    if left is None:
        return None
    try:
        return PositionContract.from_json(left)
    except InvalidManifest as error:
        raise CheckpointError(f"config.json's {LEFT_BEHIND} can't be read: {error}") from error


def _default(tokenizer: Any, max_length: int) -> PositionContract:
    return default_contract(tokenizer, max_length=max_length)


def _known(tokenizer: Any, max_length: int, *, position: PositionContract) -> PositionContract:
    del tokenizer, max_length
    return position


OURS = Layout("rewardd", recognise_ours, read_ours)
PLAIN = Layout("transformers", recognise_plain, read_plain)
