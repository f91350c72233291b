"""Products of every library: the layer's own result, and its weight once in memory."""

import pytest
import torch
from torch import nn

from rm_core.engine.trunk.products.base import MakeProduct
from rm_core.engine.trunk.products.mm import MmProduct
from rm_core.engine.trunk.products.onednn import MANY_ROWS, OnednnProduct, has_onednn
from rm_core.engine.trunk.products.table import (
    ROW_CLASSES,
    ProductByRows,
    ProductTable,
    libraries_of,
    table_of,
)

MIXED = ProductTable(("mkl", "onednn", "mkl", "onednn"))
needs_onednn = pytest.mark.skipif(not has_onednn(), reason="this torch has no oneDNN")
MAKES: dict[str, MakeProduct] = {
    "mm": MmProduct,
    "onednn": OnednnProduct,
    "by rows": MIXED.product,
}


@needs_onednn
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 5, 32, 33, 130, MANY_ROWS + 7])
@pytest.mark.parametrize("name", MAKES)
def test_a_product_is_the_layers_own(name: str, rows: int, bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(24, 16, bias=bias)
    x, hidden = torch.randn(rows, 24), torch.randn(rows, 16)
    expected = linear(x).detach()
    product = MAKES[name](linear)
    with torch.inference_mode():
        out, sums = torch.empty(rows, 16), hidden.clone()
        product.into(x, out)
        product.add_to(sums, x)
        found = product(x)

    assert found.shape == expected.shape
    assert product.out_features == 16
    for result in (found, out, sums - hidden):
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=2e-6)


@needs_onednn
@pytest.mark.parametrize("name", MAKES)
def test_a_product_changes_no_weight_and_holds_none_twice(name: str) -> None:
    linear = nn.Linear(24, 16)
    before = linear.weight.detach().clone()

    product = MAKES[name](linear)
    with torch.inference_mode():
        product(torch.randn(40, 24))

    weight = linear.weight
    assert torch.equal(weight, before)
    assert weight.t().is_contiguous()
    assert weight.untyped_storage().nbytes() == weight.numel() * weight.element_size()
    assert {tensor.data_ptr() for tensor in tensors_in(product)} <= {
        weight.data_ptr(),
        linear.bias.data_ptr(),
    }


def tensors_in(product: object) -> list[torch.Tensor]:
    """Every tensor that a product holds, through what it holds."""
    found, waiting = [], [product]
    while waiting:
        each = waiting.pop()
        if isinstance(each, torch.Tensor):
            found.append(each)
        elif isinstance(each, nn.Module):
            waiting += list(each.parameters())
        elif isinstance(each, dict):
            waiting += list(each.values())
        elif hasattr(each, "__dict__"):
            waiting += list(vars(each).values())
    return found


@needs_onednn
def test_few_new_numbers_of_rows_reach_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[int] = set()
    own = torch.ops.mkldnn._linear_pointwise

    def counted(rows: torch.Tensor, *rest: object) -> torch.Tensor:
        asked.add(len(rows))
        return own(rows, *rest)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", counted)
    product = OnednnProduct(nn.Linear(4, 4))
    with torch.inference_mode():
        for rows in [*range(1, 200), *range(2000, 2200)]:
            assert len(product(torch.ones(rows, 4))) == rows

    assert len(asked) == 7 + 2


def test_a_table_tells_the_library_of_each_number_of_rows() -> None:
    rows = (1, 3, 4, 31, 32, 127, 128, 511, 512, 10_000)

    assert [MIXED.library_of(count) for count in rows] == [
        *["mkl"] * 4,
        *["onednn"] * 2,
        *["mkl"] * 2,
        *["onednn"] * 2,
    ]
    assert isinstance(MIXED.product(nn.Linear(2, 2)), ProductByRows)
    assert isinstance(table_of("mkl").product(nn.Linear(2, 2)), MmProduct)


def test_a_table_tells_its_libraries_in_words() -> None:
    assert table_of("mkl").told() == "mkl"
    assert table_of("onednn").told() == "onednn"
    assert ProductTable(("mkl", "onednn", "onednn", "onednn")).told() == (
        "mkl up to 31 rows, then onednn"
    )
    assert MIXED.told() == (
        "mkl up to 31 rows, then onednn up to 127 rows, then mkl up to 511 rows, then onednn"
    )


@pytest.mark.parametrize(
    "names",
    [[], ["mkl"], ["mkl"] * (len(ROW_CLASSES) + 1), ["mkl", "onednn", "mkl", "blas"], [None] * 4],
)
def test_names_that_are_no_table_are_none(names: list[object]) -> None:
    assert libraries_of(names) is None
