"""Checkpoints with several labels, such as HelpSteer's and ArmoRM's: each label is a reward.

Which label means what is never guessed: whoever loads one names it, by what its manifest or its
config.json call it, or by its number.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import Linear

from rm_core.checkpoint.heads import HiddenLayerHead
from rm_core.checkpoint.source import LABEL_MARK, ModelSource
from rm_core.errors import CheckpointError, MissingHead, WrongNumLabels

_SHOWN = 24


def label_names(config: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """What config.json calls its labels, in order; LABEL_0, LABEL_1, … where it doesn't say.

    Args:
        config: the content of config.json.
        count: how many there are.

    Raises:
        WrongNumLabels: its id2label names another number of them.
        CheckpointError: its id2label names two alike, or numbers none of them.
    """
    given = config.get("id2label")
    if not isinstance(given, dict):
        return tuple(f"LABEL_{index}" for index in range(count))
    try:
        by_number = {int(number): str(name) for number, name in given.items()}
    except ValueError as error:
        raise CheckpointError("id2label in config.json must map numbers to names") from error
    if sorted(by_number) != list(range(count)):
        raise WrongNumLabels(
            f"config.json says {count} labels, and its id2label has {len(by_number)}; a reward is "
            "one label: take the config.json that the model was trained with"
        )
    names = tuple(by_number[number] for number in range(count))
    if len(set(names)) < count:
        raise CheckpointError("id2label in config.json gives two labels one name; number them")
    return names


def label_index(source: ModelSource, names: Sequence[str]) -> int | None:
    """The number of the label that a source names; None where there is one label, unnamed.

    Raises:
        WrongNumLabels: several labels and none is named, or none has that name or number.
    """
    told = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    if source.label is None:
        if len(names) == 1:
            return None
        raise WrongNumLabels(
            f"{source.name} has {len(names)} labels, and a reward is one of them: say which, as "
            f"{source.name}{LABEL_MARK}{names[-1]}; it has {told}; or their numbers from 0"
        )
    if source.label in names:
        index = names.index(source.label)
    elif source.label.isdecimal() and int(source.label) < len(names):
        index = int(source.label)
    else:
        raise WrongNumLabels(
            f"{source.name} has no label {source.label}; it has {told}; or their numbers from 0 "
            f"to {len(names) - 1}"
        )
    return None if len(names) == 1 else index


def keep_label(model: Any, index: int) -> None:
    """Leave a classifier one of its labels: its head's last layer becomes that label's row.

    Args:
        model: a transformers model for sequence classification; changed in place, while the
            tensors that it had stay as they are.
        index: of the label.

    Raises:
        MissingHead: no linear layer with one output a label ends its head.
    """
    if isinstance(getattr(model, "score", None), HiddenLayerHead):
        model.score = model.score.label(index)
    else:
        name = _last_linear(model)
        parent, _, own = name.rpartition(".")
        holder = model.get_submodule(parent) if parent else model
        setattr(holder, own, _row(getattr(holder, own), index))
    model.config.num_labels = 1
    model.num_labels = 1


def _last_linear(model: Any) -> str:
    trunk = f"{model.base_model_prefix}."
    found = [
        name
        for name, module in model.named_modules()
        if isinstance(module, Linear)
        and module.out_features == model.config.num_labels
        and not name.startswith(trunk)
    ]
    if not found:
        raise MissingHead(
            f"{type(model).__name__} ends in no linear layer with {model.config.num_labels} outputs"
        )
    return str(found[-1])


def _row(layer: Linear, index: int) -> Linear:
    """One output of a linear layer."""
    bias: torch.Tensor | None = layer.bias
    row = Linear(layer.in_features, 1, bias=bias is not None, device="meta")
    row.weight = nn.Parameter(layer.weight.detach()[index : index + 1].clone(), requires_grad=False)
    if bias is not None:
        row.bias = nn.Parameter(bias.detach()[index : index + 1].clone(), requires_grad=False)
    return row
