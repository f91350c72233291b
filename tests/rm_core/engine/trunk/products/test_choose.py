"""What multiplies a model's layers: asked for, remembered, timed, or torch's own with a reason."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rm_core.checkpoint.load import load_reward_model
from rm_core.engine import EngineOptions, load_engine
from rm_core.engine.forward.choose import choose_forward, run_by_transformers
from rm_core.engine.options import Products
from rm_core.engine.trunk.products import choose, onednn
from rm_core.engine.trunk.products.choose import TORCHS_OWN, choose_products
from rm_core.engine.trunk.products.in_place import _InPlace
from rm_core.engine.trunk.products.onednn import has_onednn
from rm_core.engine.trunk.products.table import ProductTable
from rm_core.errors import ConfigurationError
from rm_core.types import Encoded
from tests.models import ARCHITECTURES, make_model, save_checkpoint

needs_onednn = pytest.mark.skipif(not has_onednn(), reason="this torch has no oneDNN")
TABLE = ProductTable(("mkl", "mkl", "onednn", "onednn"), 256)
# Texts alone, together, one row more than a round number, one token.
LENGTHS = (1, 2, 33, 64, 130)


def large() -> Any:
    """Large enough to be timed."""
    return make_model("llama", hidden_size=64, intermediate_size=1024)


def asked(products: Products) -> EngineOptions:
    return EngineOptions(products=products)


@needs_onednn
@pytest.mark.parametrize("products", ["mkl", "onednn"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_product_gives_each_texts_own_reward(
    tmp_path: Path, architecture: str, products: Products
) -> None:
    loaded = load_reward_model(str(save_checkpoint(tmp_path, architecture)), "safety")
    rows = [tuple(range(3, 3 + length)) for length in LENGTHS]
    with torch.inference_mode():
        expected = [float(loaded.model(input_ids=torch.tensor([row])).logits[0, 0]) for row in rows]

    forward = choose_forward(loaded, options=asked(products))
    texts = [Encoded(row, len(row) - 1) for row in rows]
    together = [row[0] for row in forward.rewards(texts)]
    alone = [forward.rewards([text])[0][0] for text in texts]

    assert (forward.products.told(), forward.products.reason) == (products, "set")
    assert together == pytest.approx(expected, abs=1e-5)
    assert alone == pytest.approx(expected, abs=1e-5)


@needs_onednn
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "bert", "deberta-v2"])
def test_a_wrong_product_is_found_out_and_torchs_own_taken(
    tmp_path: Path, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = torch.ops.mkldnn._linear_pointwise

    def wrong(*arguments: Any) -> torch.Tensor:
        return own(*arguments) * 1.01

    loaded = load_reward_model(str(save_checkpoint(tmp_path, architecture)), "safety")
    attention = loaded.model.config._attn_implementation
    expected = choose_forward(loaded, options=asked("mkl"))
    texts = [Encoded((5, 6, 7, 8), 3)]
    reward = expected.rewards(texts)
    run_by_transformers(loaded.model, attention)
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", wrong)

    forward = choose_forward(loaded, options=asked("onednn"))

    assert forward.products.told() == "mkl"
    assert "other rewards" in forward.products.reason
    assert forward.rewards(texts)[0] == pytest.approx(reward[0], abs=1e-5)


@needs_onednn
def test_transformers_gets_its_layers_back(tmp_path: Path) -> None:
    loaded = load_reward_model(str(save_checkpoint(tmp_path, "gemma2")), "safety")
    attention = loaded.model.config._attn_implementation
    choose_forward(loaded, options=asked("onednn"))
    trunk = loaded.model.base_model
    assert any(isinstance(vars(each).get("forward"), _InPlace) for each in trunk.modules())

    run_by_transformers(loaded.model, attention)

    assert not any("forward" in vars(each) for each in trunk.modules())
    assert all(each.is_contiguous() for each in trunk.parameters())


@needs_onednn
def test_what_was_timed_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[int | None] = []

    def table(_linears: Any, *, rows: int | None) -> ProductTable:
        timed.append(rows)
        return TABLE

    monkeypatch.setattr(choose, "fastest_table", table)
    options = EngineOptions(products_file=tmp_path / "products.json")

    first, second = (choose_products(large(), options, chunk_rows=512) for _ in range(2))
    unkept = choose_products(large(), EngineOptions(), chunk_rows=512)

    assert timed == [512, 512]
    assert first.table == second.table == unkept.table == TABLE
    assert (first.reason, second.reason) == (
        "fastest when timed at this start",
        "fastest when timed at an earlier start",
    )


@needs_onednn
def test_a_deterministic_model_that_is_loaded_again_keeps_its_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tables = iter([TABLE, ProductTable(("mkl",) * 4)])
    monkeypatch.setattr(choose, "fastest_table", lambda *_, **__: next(tables))
    monkeypatch.setattr(choose, "_OF_THIS_PROCESS", {})
    options = EngineOptions(deterministic=True)

    first, second = (choose_products(large(), options, chunk_rows=512) for _ in range(2))

    assert first == second
    assert first.table == ProductTable(("onednn",) * 4, 256)  # one library: two round otherwise


@needs_onednn
def test_the_real_clock_chooses_a_table_for_a_model_that_is_large_enough() -> None:
    found = choose_products(large(), EngineOptions(), chunk_rows=128)

    assert found.table is not None
    assert found.reason == "fastest when timed at this start"


@needs_onednn
def test_a_processor_without_the_product_keeps_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise RuntimeError("could not create a primitive")

    monkeypatch.setattr(choose, "fastest_table", none)

    assert choose_products(large(), EngineOptions()).told() == "mkl"


@needs_onednn
def test_small_models_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "fastest_table", None)  # not called

    found = choose_products(make_model("llama"), EngineOptions())

    assert (found.told(), found.reason) == ("mkl", "too small to choose")


@pytest.mark.parametrize(
    ("options", "model", "word"),
    [
        ({"deterministic": True}, lambda: make_model("gpt2"), "deterministic"),
        ({}, lambda: make_model("llama").half(), "float32"),
        ({}, lambda: make_model("llama").to("meta"), "meta"),
    ],
)
def test_where_nothing_can_be_chosen_the_reason_is_told(
    options: dict[str, Any], model: Any, word: str
) -> None:
    found = choose_products(model(), EngineOptions(**options))

    assert found.told() is None
    assert word in found.reason
    with pytest.raises(ConfigurationError, match=word):
        choose_products(model(), EngineOptions(products="onednn", **options))


def test_autocast_keeps_torchs_own() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "autocast" in choose_products(make_model("llama"), EngineOptions()).reason


def test_a_torch_without_onednn_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)

    assert not onednn.has_onednn()
    with pytest.raises(ConfigurationError, match="no oneDNN"):
        choose_products(make_model("llama"), asked("onednn"))


@needs_onednn
def test_info_tells_what_multiplies(tmp_path: Path) -> None:
    checkpoint = str(save_checkpoint(tmp_path))

    told = load_engine({"safety": checkpoint}, asked("onednn"), device="cpu").describe()["safety"]

    assert (told["products"], told["products_reason"]) == ("onednn", "set")
    assert TORCHS_OWN.told() is None
