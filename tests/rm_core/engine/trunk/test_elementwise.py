"""Torch's steps and our own equal transformers' and each other, row by row."""

import pytest
import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from rm_core.engine.trunk.elementwise import (
    Elementwise,
    NativeElementwise,
    TorchElementwise,
    is_rms_norm,
)
from tests.models import make_model
from tests.rm_core.engine.native.compiled import library, needs_compiler

WIDTHS = [1, 8, 67, 256]


@pytest.fixture(params=["torch", pytest.param("native", marks=needs_compiler)])
def steps(request: pytest.FixtureRequest) -> Elementwise:
    return TorchElementwise() if request.param == "torch" else NativeElementwise(library())


def test_only_a_norm_that_computes_the_root_mean_square_is_run_as_one() -> None:
    plain = make_model("llama").base_model.layers[0].input_layernorm
    shifted = make_model("gemma2").base_model.layers[0].input_layernorm  # multiplies by 1 + weight

    assert is_rms_norm(plain)
    assert not is_rms_norm(shifted)
    assert not is_rms_norm(nn.LayerNorm(8))


@pytest.mark.parametrize("width", WIDTHS)
def test_the_norm_equals_transformers(width: int, steps: Elementwise) -> None:
    norm = type(make_model("llama").base_model.norm)(width, eps=1e-5)
    nn.init.normal_(norm.weight)
    rows = torch.cat([torch.randn(300, width + 3), torch.zeros(1, width + 3)])[:, :width]

    with torch.no_grad():
        found = steps.rms_norm(rows, norm.weight, norm.variance_epsilon)

    assert torch.allclose(found, norm(rows), atol=2e-6)


@pytest.mark.parametrize("dim", [2, 34, 64])
def test_the_rotation_equals_transformers(dim: int, steps: Elementwise) -> None:
    flat = torch.randn(200, 3 * dim)
    angles = torch.rand(200, dim // 2).repeat(1, 2) * 6
    by_head = flat.view(1, 200, 3, dim).transpose(1, 2)
    expected, _ = apply_rotary_pos_emb(by_head, by_head, angles.cos()[None], angles.sin()[None])

    found = flat.clone()
    steps.rotate(found, angles.cos(), angles.sin())

    assert torch.allclose(found.view(1, 200, 3, dim).transpose(1, 2), expected, atol=1e-6)


@pytest.mark.parametrize("function", [nn.SiLU(), nn.ReLU()])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_activation_is_the_one_that_is_asked_for(
    function: nn.Module, width: int, steps: Elementwise
) -> None:
    gate, up = torch.randn(100, width) * 8, torch.randn(100, width)
    expected = function(gate.double()) * up.double()

    found = steps.gate(function, gate.clone(), up)

    assert torch.allclose(found.double(), expected, atol=1e-6, rtol=1e-6)


def extremes() -> Tensor:
    return torch.tensor([[-1e38, -200.0, -88.0, -87.0, 0.0, 87.0, 88.0, 1e38]])


def test_the_activation_of_huge_values_is_finite(steps: Elementwise) -> None:
    expected = nn.functional.silu(extremes().double())

    found = steps.gate(nn.SiLU(), extremes(), torch.ones(1, 8))

    assert torch.allclose(found.double()[0, 1:], expected[0, 1:], atol=1e-30, rtol=2e-6)
    assert found[0, 0].abs() < 10


@needs_compiler
def test_what_is_no_number_stays_one_in_its_own_row() -> None:
    steps, rows = NativeElementwise(library()), torch.randn(3, 20)
    rows[1, 7] = float("nan")
    angles = torch.rand(3, 20)

    normed = steps.rms_norm(rows, torch.ones(20), 1e-5)
    gated = steps.gate(nn.SiLU(), rows.clone(), torch.ones(3, 20))
    steps.rotate(rows, angles.cos(), angles.sin())

    for found in (normed, gated, rows):
        assert found.isnan().any(dim=1).tolist() == [False, True, False]


@needs_compiler
def test_a_row_has_the_same_bits_wherever_it_stands_and_on_any_number_of_threads() -> None:
    steps, rows, weight = NativeElementwise(library()), torch.randn(700, 67), torch.randn(67)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = steps.rms_norm(rows, weight, 1e-5), steps.gate(nn.SiLU(), rows.clone(), rows)
    finally:
        torch.set_num_threads(before)

    for at in (0, 1, 699):
        own = rows[at : at + 1]
        assert torch.equal(steps.rms_norm(own, weight, 1e-5)[0], together[0][at])
        assert torch.equal(steps.gate(nn.SiLU(), own.clone(), own)[0], together[1][at])
