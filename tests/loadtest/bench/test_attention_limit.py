import pytest
import torch
from transformers import AutoModelForSequenceClassification

from loadtest.bench import attention_limit, strategies
from loadtest.bench.attention_limit import AttentionLimit, planned
from loadtest.bench.strategies import GemmLimit, PackSize, fastest_products, trunk_linears
from rm_core.engine.trunk.products.choose import ProductChoice
from rm_core.engine.trunk.products.onednn import has_onednn
from rm_core.engine.trunk.products.table import table_of
from rm_core.types import Encoded

PROMPT = tuple(range(10, 40))


@pytest.fixture(scope="module")
def loaded(model):
    return AutoModelForSequenceClassification.from_pretrained(model).eval()


def test_every_row_attends_to_its_own_run_and_to_what_it_continues(loaded, monkeypatch):
    texts = [Encoded((*PROMPT, *range(50 + n, 60 + 2 * n)), 39 + n) for n in range(3)]
    plans = planned([[0, 1, 2]], texts)
    calls = []

    def counted(query, key, value, *, is_causal):
        assert key.shape == value.shape
        assert query.shape[:2] == key.shape[:2]
        calls.append((query.shape[-2], key.shape[-2], is_causal))

    monkeypatch.setattr(attention_limit, "scaled_dot_product_attention", counted)
    products = GemmLimit("p", loaded, [PackSize(plans[0].num_tokens, 3)], skip_unread=True)
    limit = AttentionLimit("limit", products, loaded, plans)

    assert limit.run() == {}

    layers = len(loaded.base_model.layers) - 1
    below = sum(10 + n for n in range(3))
    expected = [(30, 30, True), (below, 30, False), *((10 + n, 10 + n, True) for n in range(3))]
    assert sorted(calls) == sorted(expected * layers)


@pytest.mark.skipif(not has_onednn(), reason="this torch has no oneDNN")
def test_the_bare_products_are_the_fastest_librarys_and_leave_the_model_alone(loaded, monkeypatch):
    chosen = ProductChoice(table_of("onednn"), "set")
    monkeypatch.setattr(strategies, "choose_products", lambda *_: chosen)
    weights = [linear.weight.data_ptr() for linear, _ in trunk_linears(loaded)]

    products = fastest_products(loaded)

    assert [linear.weight.data_ptr() for linear, _ in trunk_linears(loaded)] == weights
    assert not any(linear is product for linear, product in products.items())
    x = torch.randn(40, loaded.config.hidden_size)
    with torch.inference_mode():
        for linear, product in products.items():
            if linear.in_features == x.shape[1]:
                torch.testing.assert_close(product(x), linear(x), rtol=1e-5, atol=1e-5)
