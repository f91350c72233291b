"""The chunked run equals transformers' own, for any number of rows around a chunk's border."""

import random
from typing import Any

import pytest
import torch

from rm_core.engine.forward.packed import PackedForward, TransformersTrunk, fastest_packed
from rm_core.engine.trunk.chunked import (
    ChunkedTrunk,
    is_llama_shaped,
)
from rm_core.types import Encoded
from tests.models import ARCHITECTURES, make_model
from tests.rm_core.engine.native.compiled import library, needs_compiler

LLAMA_SHAPED = ("llama", "qwen2", "qwen3", "mistral")


def texts(count: int = 9) -> list[Encoded]:
    rng = random.Random(count)
    prompt = [rng.randrange(250) for _ in range(50)]
    rows = [prompt + [rng.randrange(250) for _ in range(1 + 7 * n)] for n in range(count)]
    return [Encoded(tuple(row), len(row) - 1) for row in rows]


def with_biases(model: Any) -> Any:
    for module in model.base_model.modules():
        if isinstance(module, torch.nn.Linear) and module.bias is not None:
            torch.nn.init.normal_(module.bias)
    return model


@pytest.mark.parametrize("rows", [1, 16, 50, 10_000])
@pytest.mark.parametrize("architecture", LLAMA_SHAPED)
def test_the_chunked_run_equals_transformers(architecture: str, rows: int) -> None:
    model = with_biases(make_model(architecture))
    expected = torch.tensor(PackedForward(model, run=TransformersTrunk(model)).rewards(texts()))

    chunked = PackedForward(model, run=ChunkedTrunk(model.base_model, rows=rows))

    assert torch.allclose(torch.tensor(chunked.rewards(texts())), expected, atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("architecture", LLAMA_SHAPED)
def test_the_chunked_run_in_our_own_code_equals_transformers(architecture: str) -> None:
    model = with_biases(make_model(architecture))
    expected = torch.tensor(PackedForward(model, run=TransformersTrunk(model)).rewards(texts()))

    run = ChunkedTrunk(model.base_model, rows=50, native=library())
    chunked = PackedForward(model, run=run, native=library())

    assert torch.allclose(torch.tensor(chunked.rewards(texts())), expected, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"attention_bias": True}, {"mlp_bias": True}, {"head_dim": 16}]
)
def test_every_llama_option_is_honoured(options: dict[str, Any]) -> None:
    model = with_biases(make_model("llama", **options))
    expected = torch.tensor(PackedForward(model, run=TransformersTrunk(model)).rewards(texts()))

    chunked = PackedForward(model, run=ChunkedTrunk(model.base_model))

    assert torch.allclose(torch.tensor(chunked.rewards(texts())), expected, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_only_llama_shaped_trunks_are_taken(architecture: str) -> None:
    assert is_llama_shaped(make_model(architecture).base_model) == (architecture in LLAMA_SHAPED)


def test_a_trunk_with_a_part_more_is_not_taken() -> None:
    trunk = make_model("llama").base_model
    trunk.layers[1].mlp.surprise = torch.nn.Identity()

    assert not is_llama_shaped(trunk)


def test_the_cpu_runs_llama_shaped_models_chunk_by_chunk() -> None:
    assert "chunk by chunk" in fastest_packed(make_model("llama")).reason
    assert "chunk" not in fastest_packed(make_model("gpt2")).reason
