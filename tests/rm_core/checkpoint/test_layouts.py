"""No layout of a checkpoint scores wrong in silence: equal, or refused by name."""

from functools import cache
from pathlib import Path

import pytest

from tests.rm_core.checkpoint.fuzz_layouts import complaint
from tests.rm_core.checkpoint.layouts import (
    ARCHITECTURES,
    CHANGES,
    FAULTS,
    drawn_layout,
    rewards,
    sound_layout,
)

DRAWN = 48
drawn = cache(drawn_layout)


@pytest.mark.parametrize("batch", range(4))
def test_drawn_layouts_are_served_exactly_or_refused_by_name(batch: int, tmp_path: Path) -> None:
    found = [
        (seed, complaint(drawn(seed), tmp_path / str(seed)))
        for seed in range(batch * DRAWN // 4, (batch + 1) * DRAWN // 4)
    ]

    assert [(seed, said) for seed, said in found if said is not None] == []


def test_the_draws_meet_every_change_and_every_architecture() -> None:
    layouts = [drawn(seed) for seed in range(DRAWN)]

    assert {name for layout in layouts for name in layout.changes} == {
        change.__name__ for change in (*CHANGES, *FAULTS)
    }
    assert {layout.config["model_type"] for layout in layouts} == set(ARCHITECTURES)
    assert 18 <= sum(not layout.refused for layout in layouts) <= 36


def test_a_wrong_reward_and_a_wrong_refusal_are_seen(tmp_path: Path) -> None:
    """The negative control: the comparison isn't one that anything passes."""
    unequal = sound_layout("llama", 1)
    unequal.bias = 1e-3
    sound = sound_layout("llama", 1)
    sound.refused.append("something")
    refused = sound_layout("llama", 1)
    refused.config["quantization_config"] = {"quant_method": "gptq"}

    assert "unequal" in str(complaint(unequal, tmp_path / "unequal"))
    assert "served in spite" in str(complaint(sound, tmp_path / "sound"))
    assert "for something else" in str(complaint(refused, tmp_path / "refused"))
    assert len(set(rewards(sound))) == 3
