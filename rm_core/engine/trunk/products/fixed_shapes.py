"""Another library's products, in chunks of which each gives a row the same bits."""

import torch
from torch import Tensor, nn

from rm_core.engine.trunk.products.base import MakeProduct, Product
from rm_core.engine.trunk.row_shapes import RowShapes, random_row, tried_shapes


class FixedShapeProduct:
    """A product cut into chunks by its rows.

    Args:
        product: what multiplies.
        shapes: the chunks' sizes; rows come in multiples of the smallest.
    """

    def __init__(self, product: Product, shapes: RowShapes) -> None:
        self._product = product
        self.shapes = shapes
        self.out_features = product.out_features

    def __call__(self, rows: Tensor) -> Tensor:
        """See `Product`."""
        out = rows.new_empty(len(rows), self.out_features)
        self.into(rows, out)
        return out

    def into(self, rows: Tensor, out: Tensor) -> None:
        """See `Product`."""
        for chunk in self.shapes.cut(len(rows)):
            self._product.into(rows[chunk], out[chunk])

    def add_to(self, hidden: Tensor, rows: Tensor) -> None:
        """See `Product`."""
        for chunk in self.shapes.cut(len(rows)):
            self._product.add_to(hidden[chunk], rows[chunk])


class FixedShapes:
    """Makes products of fixed shapes of another library's; a `MakeProduct`.

    Which shapes a layer's product may have is tried once for layers of one size.

    Args:
        make: gives the other library's product.
    """

    def __init__(self, make: MakeProduct) -> None:
        self._make = make
        self._tried: dict[tuple[object, ...], RowShapes] = {}

    def __call__(self, linear: nn.Linear) -> FixedShapeProduct:
        """A layer's product.

        Raises:
            PlaceMatters: in the smallest chunk a row's bits depend on its place.
        """
        product = self._make(linear)
        weight = linear.weight
        kind = (type(product), weight.shape, weight.stride(), weight.dtype, linear.bias is None)
        if kind not in self._tried:
            self._tried[kind] = _shapes_of(product, linear)
        return FixedShapeProduct(product, self._tried[kind])


@torch.inference_mode()
def _shapes_of(product: Product, linear: nn.Linear) -> RowShapes:
    """The sizes in which both ways to ask for a product give a row the same bits."""

    def both(rows: Tensor) -> Tensor:
        into, added = (rows.new_ones(len(rows), product.out_features) for _ in range(2))
        product.into(rows, into)
        product.add_to(added, rows)
        return torch.cat([into, added], dim=1)

    return tried_shapes(both, random_row(linear.in_features, linear.weight.dtype))
