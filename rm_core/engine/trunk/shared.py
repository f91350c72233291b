"""Whether two reward models stand on the same trunk, by its weights and not by its name."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rm_core.checkpoint.heads import head_of
from rm_core.checkpoint.shared_trunks import NOT_OF_THE_TRUNK
from rm_core.errors import MissingHead


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
        _equal(tensor, other[name]) for name, tensor in one.items()
    )


def hold_once(model: Any, others: Sequence[Any]) -> None:
    """Let a model's trunk be the very tensors of another one's whose trunk is the same.

    The modules stay its own, so that it may still be run in another way.

    Args:
        model: a transformers model for sequence classification, changed in place.
        others: what it may share with; itself among them is passed over.
    """
    twin = next(
        (other for other in others if other is not model and same_trunk(other, model)), None
    )
    if twin is None:
        return
    own, held = _tensors(model), _tensors(twin)
    for name in _without_head(model).keys() & own.keys() & held.keys():
        own[name].data = held[name].data


def _tensors(model: Any) -> dict[str, Tensor]:
    """Parameters and buffers themselves, by name."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    same = one.data_ptr() == other.data_ptr() and one.stride() == other.stride()
    return (same and one.device == other.device) or torch.equal(one, other)


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
    return {key: value for key, value in config.items() if key not in NOT_OF_THE_TRUNK}
