"""The layers of a trunk whose result is the product of one weight and nothing else."""

from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


def product_layers(trunk: Any) -> dict[nn.Module, nn.Linear]:
    """The trunk's layers that are plain products, each with the linear layer that says the same.

    Args:
        trunk: a transformers base model.

    Returns:
        Linear layers with themselves, and GPT-2's, which hold their weights transposed, with a
        linear layer over the same memory. Layers that are more than their weight tells (quantised,
        with adapters) are not among them; the linear layer inside an adapter's is.
    """
    found: dict[nn.Module, nn.Linear] = {}
    for module in trunk.modules():
        if type(module) is nn.Linear and type(module.weight.data) is Tensor:
            found[module] = module
        elif type(module) is Conv1D and type(module.weight.data) is Tensor:
            found[module] = _as_linear(module)
    return found


def _as_linear(layer: Any) -> nn.Linear:
    weight: Tensor = layer.weight.data
    into, out = weight.shape
    linear = nn.Linear(into, out, bias=False, device="meta")
    linear.weight = nn.Parameter(weight.t(), requires_grad=False)
    linear.bias = layer.bias  # the same parameter
    return linear
