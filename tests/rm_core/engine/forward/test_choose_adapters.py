"""Adapters go side by side only where that gives each one's own rewards; else it is told why."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rm_core.checkpoint.adapters import SharedBases
from rm_core.checkpoint.load import load_reward_model
from rm_core.checkpoint.low_rank import LowRankPart, low_rank_parts
from rm_core.engine.forward.by_length import LengthClassForward
from rm_core.engine.forward.choose_adapters import choose_side_by_side
from rm_core.engine.forward.side_by_side import OnBase
from rm_core.engine.options import EngineOptions, Products
from rm_core.engine.trunk.products.onednn import has_onednn
from tests.adapters import save_adapter, save_base


def members(folder: Path, architecture: str, *, count: int = 2, **over: Any) -> list[OnBase]:
    base, shared = save_base(folder / "base", architecture, **over), SharedBases()
    found = []
    for seed in range(count):
        adapter = save_adapter(folder / f"{seed}", base, seed=seed, architecture=architecture)
        model = load_reward_model(str(adapter), "safety", bases=shared).model
        parts = low_rank_parts(model)
        assert not isinstance(parts, str)
        found.append(OnBase(model, parts, [model.score]))
    return found


# peft says that GPT-2's Conv1D turns its weights, and mends it.
@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning")
@pytest.mark.parametrize(
    ("architecture", "reason"),
    [
        ("llama", "Llama-shaped decoder on the CPU, run chunk by chunk"),
        ("mistral", "Llama-shaped decoder on the CPU, run chunk by chunk"),
        ("gemma2", "decoder with replaceable attention"),
        ("gpt2", "decoder with replaceable attention"),
        ("gpt_neox", "decoder with replaceable attention"),
    ],
)
def test_the_fastest_way_of_each_architecture(
    architecture: str, reason: str, tmp_path: Path
) -> None:
    found = choose_side_by_side(members(tmp_path, architecture), 640)

    assert not isinstance(found, str)
    assert found.reason == f"{reason}, 2 adapters side by side"
    assert found.shares_prefixes


def test_one_adapter_runs_so_as_well(tmp_path: Path) -> None:
    found = choose_side_by_side(members(tmp_path, "llama", count=1), 640)

    assert not isinstance(found, str)
    assert found.reason.endswith("run chunk by chunk, its adapter added to its products")


@pytest.mark.skipif(not has_onednn(), reason="this torch has no oneDNN")
@pytest.mark.parametrize("products", ["mkl", "onednn"])
@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_the_base_multiplies_by_what_is_asked_for(
    architecture: str, products: Products, tmp_path: Path
) -> None:
    found = choose_side_by_side(
        members(tmp_path, architecture), 640, options=EngineOptions(products=products)
    )

    assert not isinstance(found, str)
    assert (found.products.told(), found.products.reason) == (products, "set")
    assert "not " not in found.reason


def test_what_adapters_keep_of_a_text_they_keep_each_for_itself(tmp_path: Path) -> None:
    options = EngineOptions(prefix_cache_bytes=2**20)

    found = choose_side_by_side(members(tmp_path, "llama"), 640, options=options)

    assert not isinstance(found, str)
    assert found.prefix_cache is not None, found.prefix_cache_reason


def test_classes_of_lengths_stay_apart(tmp_path: Path) -> None:
    scaling = {
        "rope_type": "longrope",
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
        "original_max_position_embeddings": 200,
        "rope_theta": 10000.0,
    }
    found = choose_side_by_side(members(tmp_path, "llama", rope_scaling=scaling), 640)

    assert isinstance(found, LengthClassForward)
    assert "run chunk by chunk, 2 adapters side by side" in found.reason


def test_wrong_scaling_is_found_and_told(tmp_path: Path) -> None:
    """The negative control: the trial compares with peft's own layers, not with our parts."""
    first, second = members(tmp_path, "llama")
    wrong = {name: LowRankPart(p.down, p.up, 1.01 * p.scaling) for name, p in second.parts.items()}

    found = choose_side_by_side([first, OnBase(second.model, wrong, second.heads)], 640)

    assert isinstance(found, str)
    assert found.count("side-by-side rewards differ by") == 3, "of all three ways"


def test_an_adapter_that_overflows_is_left_to_the_other_ways(tmp_path: Path) -> None:
    first, second = members(tmp_path, "llama")
    with torch.no_grad():
        next(iter(second.parts.values())).up.fill_(float("nan"))

    assert isinstance(choose_side_by_side([first, second], 640), str)
