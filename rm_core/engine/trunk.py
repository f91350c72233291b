"""Whether two reward models stand on the same trunk, by its weights and not by its name."""

from typing import Any

import torch
from torch.nn import Linear

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
        True if both have a linear `score` head, the same class, the same configuration of the
        trunk and its adapters, and every weight and buffer of the trunks is equal to the bit.
    """
    if type(first) is not type(second):
        return False
    if not all(isinstance(getattr(model, "score", None), Linear) for model in (first, second)):
        return False
    if _trunk_config(first) != _trunk_config(second) or _adapters(first) != _adapters(second):
        return False
    one, other = first.base_model.state_dict(), second.base_model.state_dict()
    return one.keys() == other.keys() and all(
        tensor.dtype == other[name].dtype and torch.equal(tensor, other[name])
        for name, tensor in one.items()
    )


def _adapters(model: Any) -> Any:
    """How peft's adapters weigh in, which their weights don't tell (alpha, for one)."""
    return getattr(model, "peft_config", None)


def _trunk_config(model: Any) -> dict[str, Any]:
    config: dict[str, Any] = model.config.to_dict()
    return {key: value for key, value in config.items() if key not in IGNORED_CONFIG_KEYS}
