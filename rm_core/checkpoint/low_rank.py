"""The low-rank parts of a loaded LoRA adapter, apart from the base that they are added to.

peft puts each part into a layer around the base's, so that a forward runs one adapter. Taken out,
the parts of many adapters can be added to one product of their base. An adapter of which a part
does more than that is named, and stays as peft runs it.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rm_core.checkpoint.shared_trunks import on_same_tensors


@dataclass(frozen=True, slots=True)
class LowRankPart:
    """What one adapter adds to one linear layer: scaling · (x · downᵀ) · upᵀ.

    Attributes:
        down: A, (rank, features in).
        up: B, (features out, rank).
        scaling: α/r, or α/√r where it is rank-stabilised.

    Source: Hu et al. 2021, arXiv:2106.09685, §4.1; Kalajdzievski 2023, arXiv:2312.03732, for √r.
    """

    down: nn.Parameter
    up: nn.Parameter
    scaling: float


def low_rank_parts(model: Any) -> dict[str, LowRankPart] | str:
    """What an adapter adds to its base's linear layers, by their names in the trunk.

    Args:
        model: for sequence classification, with an adapter or without one.

    Returns:
        The parts, none for a model without an adapter; or in words what there is beside them.
    """
    parts: dict[str, LowRankPart] = {}
    inside: tuple[str, ...] = ()
    for name, module in model.base_model.named_modules():
        if name.startswith(inside) or not _is_of_peft(module):
            continue
        inside = (*inside, f"{name}.")
        found = _part(module)
        if isinstance(found, str):
            return f"{found} at {name}"
        parts[name] = found
    return parts


def without_adapter(model: Any) -> Any:
    """A model of one's own on an adapter's base, as if no adapter had been put on it.

    Args:
        model: for sequence classification, with low-rank parts alone or without an adapter.

    Returns:
        A copy of its modules; parameters and buffers are the model's own tensors.
    """
    plain = on_same_tensors(model)
    for name, module in list(plain.base_model.named_modules()):
        if _is_of_peft(module) and hasattr(module, "base_layer"):
            plain.base_model.set_submodule(name, module.base_layer)
    vars(plain).pop("peft_config", None)
    return plain


def _is_of_peft(module: nn.Module) -> bool:
    return type(module).__module__.partition(".")[0] == "peft"


def _part(layer: Any) -> LowRankPart | str:
    """One layer's part, or in words why it is none."""
    active: list[str] = list(getattr(layer, "active_adapters", ()))
    if not hasattr(layer, "lora_A") or len(active) != 1 or active[0] not in layer.lora_A:
        return "a module of its own (modules_to_save)"
    (name,) = active
    variant = getattr(layer, "lora_variant", {}).get(name)
    if variant is not None:
        return f"more than low-rank parts ({type(variant).__name__.removesuffix('LinearVariant')})"
    if type(layer.base_layer) not in {nn.Linear, Conv1D} or layer.merged or layer.disable_adapters:
        return f"a part on {type(layer.base_layer).__name__}"
    down, up = layer.lora_A[name], layer.lora_B[name]
    if down.bias is not None or up.bias is not None:
        return "a bias (lora_bias)"
    dtypes = {layer.base_layer.weight.dtype, down.weight.dtype, up.weight.dtype}
    if len(dtypes) != 1 or any(type(each.weight.data) is not Tensor for each in (down, up)):
        return "a part in another precision"
    return LowRankPart(down.weight, up.weight, float(layer.scaling[name]))
