"""Products by torch.mm: the layer's own result, its weight laid out once."""

import pytest
import torch
from torch import nn

from rm_core.engine.trunk.products.mm import MmProduct


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 5])
def test_a_product_is_the_layers_own_to_the_bit(bias: bool, rows: int) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(24, 16, bias=bias)
    x, hidden = torch.randn(rows, 24), torch.randn(rows, 16)
    product = MmProduct(linear)
    with torch.inference_mode():
        expected = linear(x)
        out, sums = torch.empty(rows, 16), hidden.clone()
        product.into(x, out)
        product.add_to(sums, x)

        assert torch.equal(product(x), expected)
        assert torch.equal(out, expected)
        torch.testing.assert_close(sums, hidden + expected, rtol=1e-6, atol=1e-6)
    assert product.out_features == 16


def test_laying_out_changes_no_value_and_holds_nothing_twice() -> None:
    linear = nn.Linear(24, 16)
    before = linear.weight.detach().clone()

    MmProduct(linear)

    weight = linear.weight
    assert torch.equal(weight, before)
    assert weight.t().is_contiguous()
    assert weight.untyped_storage().nbytes() == weight.numel() * weight.element_size()
