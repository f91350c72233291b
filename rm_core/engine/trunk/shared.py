"""Whether two reward models stand on the same trunk, by its weights and not by its name."""

from typing import Any

import torch
from torch import Tensor

from rm_core.checkpoint.heads import head_of
from rm_core.errors import MissingHead

IGNORED_CONFIG_KEYS = {
    "_name_or_path",
    "architectures",
    "id2label",
    "label2id",
    "mean",
    "std",
    "transformers_version",
}
"""Configuration that says nothing of what the trunk computes."""


def same_trunk(first: Any, second: Any) -> bool:
    """Whether two models' trunks compute the same hidden states.

    Args:
        first: a transformers model for sequence classification.
        second: likewise.

    Returns:
        True if both have a linear head, the same class, the same configuration of the trunk and
        its adapters, and every weight and buffer but the heads' is equal to the bit.
    """
    if type(first) is not type(second):
        return False
    if _trunk_config(first) != _trunk_config(second) or _adapters(first) != _adapters(second):
        return False
    try:
        one, other = _without_head(first), _without_head(second)
    except MissingHead:
        return False
    return one.keys() == other.keys() and all(
        tensor.dtype == other[name].dtype and torch.equal(tensor, other[name])
        for name, tensor in one.items()
    )


def _without_head(model: Any) -> dict[str, Tensor]:
    """Every weight and buffer by name but the head's, what encoders have between both included.

    Raises:
        MissingHead: no linear head with one output.
    """
    head = head_of(model)
    (name,) = (name for name, module in model.named_modules() if module is head)
    state: dict[str, Tensor] = model.state_dict()
    return {key: tensor for key, tensor in state.items() if not key.startswith(f"{name}.")}


def _adapters(model: Any) -> Any:
    """How peft's adapters weigh in, which their weights don't tell (alpha, for one)."""
    return getattr(model, "peft_config", None)


def _trunk_config(model: Any) -> dict[str, Any]:
    config: dict[str, Any] = model.config.to_dict()
    return {key: value for key, value in config.items() if key not in IGNORED_CONFIG_KEYS}
