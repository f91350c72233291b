"""The engine behind the Scorer protocol: two models, one text, errors by name."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rm_core.engine import EngineOptions, load_engine
from rm_core.engine.forward.packed import PackedForward
from rm_core.errors import ConfigurationError, EngineClosed, EngineError, OutOfMemory
from rm_core.types import Dialogue
from tests.models import DECODERS, save_checkpoint
from tests.rewards import own_rewards

DIALOGUE = Dialogue("what is it? ", "a test")
HEAD_DIMS = ("qwen3", "gemma2")  # whose configs tell the width of a head


def test_nothing_in_nothing_out(tmp_path: Path) -> None:
    assert own_rewards(load_engine({"safety": str(save_checkpoint(tmp_path))}), []) == []


def test_out_of_memory_and_other_failures_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load_engine({"safety": str(save_checkpoint(tmp_path))})
    item = engine.encode(DIALOGUE)
    failures = [
        (torch.OutOfMemoryError("CUDA out of memory"), OutOfMemory),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to"), OutOfMemory),
        (RuntimeError("something else"), EngineError),
    ]
    for raised, expected in failures:

        def fail(*_: object, error: Exception = raised) -> list[float]:
            raise error

        monkeypatch.setattr(PackedForward, "rewards", fail)
        with pytest.raises(EngineError) as caught:
            own_rewards(engine, [item])
        assert type(caught.value) is expected


def test_a_closed_engine_refuses_work(tmp_path: Path) -> None:
    engine = load_engine({"safety": str(save_checkpoint(tmp_path))})
    item = engine.encode(DIALOGUE)
    engine.close()

    with pytest.raises(EngineClosed):
        own_rewards(engine, [item])


def test_the_description_tells_how_each_model_is_run(tmp_path: Path) -> None:
    described = load_engine({"safety": str(save_checkpoint(tmp_path))}).describe()["safety"]

    assert described["architecture"] == "LlamaForSequenceClassification"
    assert described["dtype"] == "float32"
    assert described["device"] == "cpu"
    assert described["position"]["read"] == "last_non_pad"
    assert len(described["digest"]) == 64


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "no reward model"),
        ({"device": "quantum"}, "no device"),
        ({"options": EngineOptions(dtype="int7")}, "no dtype"),  # type: ignore[arg-type]
    ],
)
def test_a_configuration_that_can_not_work_is_refused(
    tmp_path: Path, options: dict[str, Any], word: str
) -> None:
    names = {"safety": str(save_checkpoint(tmp_path))} if options else {}

    with pytest.raises(ConfigurationError, match=word):
        load_engine(names, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_a_device_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="sees no CUDA device here; leave --device out"):
        load_engine({"safety": str(save_checkpoint(tmp_path))}, device="cuda")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_in_float32_equals_the_cpu(tmp_path: Path) -> None:
    name = str(save_checkpoint(tmp_path))
    on_cpu, on_cuda = (
        load_engine({"safety": name}, EngineOptions(dtype="float32"), device=device)
        for device in ("cpu", "cuda")
    )
    item = on_cpu.encode(DIALOGUE)

    assert own_rewards(on_cuda, [item])[0]["safety"] == pytest.approx(
        own_rewards(on_cpu, [item])[0]["safety"], abs=1e-4
    )


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("architecture", [*DECODERS, "bert"])
def test_cuda_in_its_default_precision_stays_near_the_cpu(
    architecture: str, tmp_path: Path
) -> None:
    wide = {"hidden_size": 256, "head_dim": 64} if architecture in HEAD_DIMS else {}
    name = str(save_checkpoint(tmp_path, architecture, **(wide or {"hidden_size": 256})))
    on_cpu, on_cuda = (load_engine({"safety": name}, device=device) for device in ("cpu", "cuda"))
    items = [on_cpu.encode(Dialogue("what is it? " * 20, "a test " * n)) for n in range(1, 9)]

    described = on_cuda.describe()["safety"]
    found = [reward["safety"] for reward in own_rewards(on_cuda, items)]

    assert (described["dtype"], described["path"]) == ("bfloat16", "packed")
    assert found == pytest.approx([r["safety"] for r in own_rewards(on_cpu, items)], abs=0.1)
