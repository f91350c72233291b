"""Compiled layers give the rewards of plain ones, for packs of every size, from few graphs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from rm_core.checkpoint.load import load_reward_model
from rm_core.engine import EngineOptions, load_engine
from rm_core.engine.forward.choose import choose_forward
from rm_core.engine.forward.compiled import CompiledTrunk
from rm_core.engine.forward.packed import PackedForward, TransformersTrunk
from rm_core.errors import ConfigurationError
from rm_core.types import Dialogue, Encoded
from tests.models import make_model, save_checkpoint
from tests.rewards import own_rewards


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def packs() -> list[list[Encoded]]:
    """Of one text and of many, with shared prefixes of two depths and without."""
    ids = torch.randint(0, 250, (12, 90), generator=torch.Generator().manual_seed(2)).tolist()
    alone = [Encoded(tuple(row[: 3 + 7 * n]), 2 + 7 * n) for n, row in enumerate(ids)]
    system = ids[0][:30]
    prompts = [system + ids[1][:20], system + ids[2][:33]]
    rows = [prompt + ids[3 + n][: 4 + 9 * n] for prompt in prompts for n in range(4)]
    grouped = [Encoded(tuple(row), len(row) - 1) for row in rows]
    return [alone[:1], alone[5:6], alone, grouped, [*alone, *grouped]]


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_compiled_layers_change_no_reward(architecture: str) -> None:
    plain = PackedForward(make_model(architecture))
    model: Any = make_model(architecture)

    compiled = PackedForward(model, run=CompiledTrunk(model, backend="aot_eager"))

    for texts in packs():
        expected = [pytest.approx(row, abs=1e-5) for row in plain.rewards(texts)]
        assert compiled.rewards(texts) == expected


def test_packs_of_every_size_run_the_same_graphs() -> None:
    model = make_model("llama", num_hidden_layers=5)
    counter = CompileCounter()
    forward = PackedForward(model, run=CompiledTrunk(model, backend=counter))  # type: ignore[arg-type]
    first, *rest = reversed(packs())
    forward.rewards(first)
    graphs = counter.frame_count

    for texts in rest:
        forward.rewards(texts)

    assert 0 < graphs <= 6, "layers share their graphs"
    assert counter.frame_count == graphs


def test_a_compiled_model_can_be_run_by_transformers_again() -> None:
    model = make_model("llama")
    before = PackedForward(make_model("llama")).rewards(packs()[3])
    CompiledTrunk(model, backend="aot_eager")

    forward = PackedForward(model, run=TransformersTrunk(model))

    assert not any("forward" in vars(layer) for layer in model.base_model.layers[:-1])
    assert forward.rewards(packs()[3]) == before


def test_a_model_that_can_not_be_compiled_runs_packed_as_it_is_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", no_compiler)
    loaded = load_reward_model(str(save_checkpoint(tmp_path)), "safety")

    forward = choose_forward(loaded, options=EngineOptions(compile_layers=True))

    assert forward.path == "packed"
    assert forward.shares_prefixes
    assert "not compiled, as the packed way raised RuntimeError" in forward.reason
    plain = PackedForward(make_model("llama"))
    texts = packs()[3]
    assert forward.rewards(texts) == [pytest.approx(row, abs=1e-5) for row in plain.rewards(texts)]


def test_compiling_is_for_cuda(tmp_path: Path) -> None:
    name = str(save_checkpoint(tmp_path))

    with pytest.raises(ConfigurationError, match="CUDA"):
        load_engine({"safety": name}, EngineOptions(compile_layers=True), device="cpu")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_compiled_layers_on_cuda_give_the_cpus_rewards(tmp_path: Path) -> None:
    name = str(save_checkpoint(tmp_path))
    on_cpu = load_engine({"safety": name}, device="cpu")
    compiled = load_engine(
        {"safety": name}, EngineOptions(dtype="float32", compile_layers=True), device="cuda"
    )
    items = [on_cpu.encode(Dialogue("what is it? " * n, "a test")) for n in range(1, 6)]

    found = [reward["safety"] for reward in own_rewards(compiled, items)]

    assert "compiled" in compiled.describe()["safety"]["path_reason"]
    assert found == pytest.approx([r["safety"] for r in own_rewards(on_cpu, items)], abs=1e-4)


def test_a_trunk_without_a_list_of_layers_is_refused() -> None:
    model = make_model("llama")
    model.base_model.layers = torch.nn.Identity()

    with pytest.raises(ValueError, match="no list of layers"):
        CompiledTrunk(model)
