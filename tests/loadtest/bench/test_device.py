"""The device benchmark's code on the CPU; on CUDA the same with a real device."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from loadtest.bench.device import (
    bench_device,
    linear_flops,
    make_model,
    matmul_rate,
    random_texts,
)
from loadtest.bench.strategies import PackSize, trunk_linears
from loadtest.errors import LoadTestError
from loadtest.settings import BenchSettings

SMALL = BenchSettings(
    model="toy",
    device="cpu",
    groups=2,
    responses=3,
    prompt_tokens=32,
    shortest=4,
    longest=24,
    rounds=1,
    matmul_size=64,
    check_texts=4,
)


def test_our_forward_padded_and_limit_are_timed_and_the_share_is_told():
    rounds = bench_device(SMALL)

    assert rounds.wrong() == []
    assert {"ours", "bare GEMMs of what is read"} <= set(rounds.timings)
    assert rounds.facts["our share of it"].endswith("%")
    assert rounds.facts["after sharing"] == rounds.facts["tokens"] - 2 * 2 * 32
    assert float(rounds.facts["our error against float32"]) < 0.25


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_same_on_cuda():
    options = BenchSettings(
        model="toy", device="cuda", groups=2, responses=3, rounds=1, matmul_size=512
    )

    assert bench_device(options).wrong() == []


def test_compiled_layers_are_asked_for_and_told(monkeypatch: pytest.MonkeyPatch):
    compiled: list[Any] = []

    def compile_nothing(function: Any, **_: Any) -> Any:
        compiled.append(function)
        return function

    monkeypatch.setattr(torch, "compile", compile_nothing)

    rounds = bench_device(replace(SMALL, compile_layers=True))

    assert len(compiled) == 1  # of two layers all but the last
    assert rounds.facts["our layers"] == "compiled"
    assert rounds.wrong() == []


def test_equal_options_make_equal_weights_in_bfloat16():
    first, second = make_model(SMALL), make_model(SMALL)

    assert first.dtype == torch.bfloat16
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])


def test_groups_share_their_prompt_and_nothing_else():
    texts, groups = random_texts(SMALL)

    assert groups == [0, 0, 0, 1, 1, 1]
    prompts = [text.input_ids[:32] for text in texts]
    assert prompts[0] == prompts[1] == prompts[2] != prompts[3]
    assert all(36 <= text.num_tokens <= 56 for text in texts)
    assert random_texts(SMALL) == (texts, groups)


def test_operations_are_two_for_each_weight_and_row():
    model = make_model(SMALL)
    weights = sum(linear.weight.numel() for linear, _ in trunk_linears(model))

    assert linear_flops(model, [PackSize(5, 5)]) == 2 * 5 * weights
    assert linear_flops(model, [PackSize(5, 1)]) < 2 * 5 * weights
    assert matmul_rate(SMALL) > 0


def test_an_unknown_shape_is_answered_with_the_known_ones():
    with pytest.raises(LoadTestError, match="8b"):
        bench_device(BenchSettings(model="900b"))
