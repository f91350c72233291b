"""Products in the place of the layers' own, where transformers runs the trunk."""

from typing import Any

import torch
from torch import Tensor, nn

from rm_core.engine.trunk.products.base import MakeProduct, Product
from rm_core.engine.trunk.products.layers import product_layers


class _InPlace:
    """A layer's forward by a product, which knows no gradients; its own where they are wanted."""

    def __init__(self, layer: nn.Module, product: Product) -> None:
        self._layer = layer
        self._product = product

    def __call__(self, rows: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            own: Tensor = type(self._layer).forward(self._layer, rows)
            return own
        flat = rows.reshape(-1, rows.shape[-1])
        return self._product(flat).view(*rows.shape[:-1], -1)


def multiply_in_place(trunk: Any, make: MakeProduct) -> int:
    """Let the plain layers of a trunk multiply by the products that are made for them.

    Args:
        trunk: a transformers base model; its layers' `forward` is replaced on the instances.
        make: gives a layer's product.

    Returns:
        How many layers were changed.
    """
    layers = product_layers(trunk)
    for layer, linear in layers.items():
        layer.forward = _InPlace(layer, make(linear))  # hides the class's method
    return len(layers)


def multiply_as_before(trunk: Any) -> None:
    """Undo `multiply_in_place`; weights stay laid out as products read them."""
    for module in trunk.modules():
        if isinstance(vars(module).get("forward"), _InPlace):
            del module.forward
