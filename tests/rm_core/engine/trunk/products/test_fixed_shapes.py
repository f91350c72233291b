"""Products of fixed shapes are the product, and no other shape reaches the library."""

import pytest
import torch
from torch import Tensor, nn

from rm_core.engine.trunk.products.fixed_shapes import FixedShapes
from rm_core.engine.trunk.products.mm import MmProduct


class Watched(MmProduct):
    """Torch's product, that rounds otherwise in chunks of 384 rows."""

    rows: set[int] = set()  # noqa: RUF012  of all products in one test

    def into(self, rows: Tensor, out: Tensor) -> None:
        super().into(rows, out)
        self.rows.add(len(rows))
        if len(rows) == 384:
            out.mul_(1 + 1e-6)

    def add_to(self, hidden: Tensor, rows: Tensor) -> None:
        super().add_to(hidden, rows)
        self.rows.add(len(rows))


@pytest.mark.parametrize("bias", [False, True])
@torch.inference_mode()
def test_only_sizes_that_round_alike_are_taken(bias: bool) -> None:
    linear = nn.Linear(24, 16, bias=bias)
    product = FixedShapes(Watched)(linear)
    assert 384 not in product.shapes.sizes
    Watched.rows.clear()
    rows, hidden = torch.randn(11 * 96, 24), torch.randn(11 * 96, 16)
    expected = linear(rows)

    added = hidden.clone()
    product.add_to(added, rows)

    assert torch.allclose(product(rows), expected, atol=1e-6)
    assert torch.allclose(added, hidden + expected, atol=1e-6)
    assert Watched.rows <= set(product.shapes.sizes)


def test_layers_of_one_size_are_tried_once() -> None:
    make = FixedShapes(Watched)
    make(nn.Linear(24, 16))
    Watched.rows.clear()

    make(nn.Linear(24, 16))
    assert not Watched.rows

    make(nn.Linear(16, 24))
    assert Watched.rows
