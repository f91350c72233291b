"""Reduced precision says what it costs, and the head stays in float32."""

from pathlib import Path

import pytest
import torch

from rm_core.engine import EngineOptions, load_engine
from rm_core.engine.trunk.precision import precision_error, reduce_precision
from rm_core.errors import ConfigurationError
from rm_core.types import Dialogue
from tests.models import make_model, save_checkpoint
from tests.rewards import own_rewards

DIALOGUES = [Dialogue("a prompt ", f"an answer, number {n}") for n in range(6)]


def rewards(name: Path, dtype: str) -> torch.Tensor:
    engine = load_engine({"safety": str(name)}, EngineOptions(dtype=dtype))  # type: ignore[arg-type]
    values = [r["safety"] for r in own_rewards(engine, [engine.encode(d) for d in DIALOGUES])]
    return torch.tensor(values)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "bert"])
def test_bfloat16_is_near_float32_and_its_error_is_told(architecture: str, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, architecture)

    described = load_engine({"safety": str(tmp_path)}, EngineOptions(dtype="bfloat16")).describe()[
        "safety"
    ]

    assert described["dtype"] == "bfloat16"
    assert 0 < described["precision_error"]["largest"] < 0.2
    assert described["precision_error"]["texts"] == 16
    difference = (rewards(tmp_path, "bfloat16") - rewards(tmp_path, "float32")).abs()
    assert 0 < float(difference.max()) < 0.2


def test_float32_has_no_error_to_tell(tmp_path: Path) -> None:
    save_checkpoint(tmp_path)

    assert load_engine({"safety": str(tmp_path)}).describe()["safety"]["precision_error"] is None


def test_int8_is_near_float32_and_its_error_is_told(tmp_path: Path) -> None:
    pytest.importorskip("torchao", reason="torchao is an extra")
    save_checkpoint(tmp_path, hidden_size=64, intermediate_size=128)

    described = load_engine({"safety": str(tmp_path)}, EngineOptions(dtype="int8")).describe()[
        "safety"
    ]

    assert described["dtype"] == "int8"
    assert 0 < described["precision_error"]["largest"] < 0.3


def test_int8_without_torchao_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    save_checkpoint(tmp_path)

    with pytest.raises(ConfigurationError, match="pip install"):
        load_engine({"safety": str(tmp_path)}, EngineOptions(dtype="int8"))


def test_the_error_is_the_largest_and_mean_difference() -> None:
    error = precision_error([[1.0], [3.0]], [[1.5], [2.75]])

    assert (error.largest, error.mean, error.texts) == (0.5, 0.375, 2)
    assert error.spread == pytest.approx(2**0.5)


def test_rotary_frequencies_are_not_rounded() -> None:
    model = make_model("llama")
    before = model.base_model.rotary_emb.inv_freq.clone()

    reduce_precision(model, "bfloat16")

    assert model.base_model.rotary_emb.inv_freq.dtype == torch.float32
    assert torch.equal(model.base_model.rotary_emb.inv_freq, before)
    assert model.base_model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16
    assert model.score.weight.dtype == torch.float32
