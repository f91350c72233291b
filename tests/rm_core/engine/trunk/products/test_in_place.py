"""Products where transformers runs the layers: the same results, gradients, and the way back."""

from collections.abc import Callable

import pytest
import torch

from rm_core.engine.trunk.products.in_place import multiply_as_before, multiply_in_place
from rm_core.engine.trunk.products.layers import product_layers
from rm_core.engine.trunk.products.onednn import has_onednn
from rm_core.engine.trunk.products.table import table_of
from tests.models import make_model

pytestmark = pytest.mark.skipif(not has_onednn(), reason="this torch has no oneDNN")
ONEDNN = table_of("onednn").product
IDS = torch.arange(3, 40)[None]


@pytest.mark.parametrize("architecture", ["gemma2", "gpt2", "gpt_neox", "bert", "deberta-v2"])
def test_transformers_runs_the_layers_by_the_product_until_that_is_undone(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(architecture)
    with torch.inference_mode():
        before = model(input_ids=IDS).logits
    calls = counted(monkeypatch)

    changed = multiply_in_place(model.base_model, ONEDNN)
    with torch.inference_mode():
        found = model(input_ids=IDS).logits
    multiplied = calls()
    multiply_as_before(model.base_model)
    with torch.inference_mode():
        after = model(input_ids=IDS).logits

    torch.testing.assert_close(found, before, rtol=1e-5, atol=1e-5)
    assert multiplied >= changed - 1 > 0  # a pooler may go unread
    assert calls() == 0
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)


def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many products oneDNN computed since the last time of asking."""
    calls: list[int] = []
    own = torch.ops.mkldnn._linear_pointwise

    def one(*arguments: object) -> torch.Tensor:
        calls.append(1)
        return own(*arguments)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", one)

    def since() -> int:
        count = len(calls)
        calls.clear()
        return count

    return since


def test_gradients_are_the_layers_own() -> None:
    model = make_model("gpt2")
    model(input_ids=IDS).logits.sum().backward()
    expected = {
        name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None
    }
    model.zero_grad()

    multiply_in_place(model.base_model, ONEDNN)
    model(input_ids=IDS).logits.sum().backward()

    assert expected
    for name, each in model.named_parameters():
        if name in expected:
            torch.testing.assert_close(each.grad, expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("architecture", ["gpt2", "gemma2"])
def test_no_weight_stands_in_memory_twice(architecture: str) -> None:
    model = make_model(architecture)
    multiply_in_place(model.base_model, ONEDNN)

    for layer, linear in product_layers(model.base_model).items():
        own, multiplied = layer.weight.untyped_storage(), linear.weight.untyped_storage()
        assert own.data_ptr() == multiplied.data_ptr()
        assert own.nbytes() == layer.weight.numel() * layer.weight.element_size()
        assert linear.bias is layer.bias


def test_quantised_layers_and_others_are_left_alone() -> None:
    class Scaled(torch.nn.Linear):
        """A layer that is more than its weight tells."""

    trunk = torch.nn.Sequential(torch.nn.Linear(4, 4), Scaled(4, 4), torch.nn.LayerNorm(4))

    assert list(product_layers(trunk)) == [trunk[0]]
