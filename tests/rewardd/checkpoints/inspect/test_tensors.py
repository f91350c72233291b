"""A head that was never trained is told by the spread of its weights, one that moved is not."""

import math

import pytest
import torch

from rewardd.checkpoints.inspect.tensors import fresh_looking

HIDDEN = 2048


@pytest.mark.parametrize(
    ("std", "name"),
    [
        (0.02, "transformers"),
        (1 / math.sqrt(HIDDEN + 1), "OpenAI"),
        (1 / (HIDDEN + 1), "OpenRLHF"),
    ],
)
def test_draws_of_known_initialisers_are_named(std: float, name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(1, HIDDEN, generator=generator) * std

    assert name in str(fresh_looking(weights, {"initializer_range": 0.02}))


def test_a_fresh_linear_layer_is_named() -> None:
    torch.manual_seed(0)

    assert "Linear" in str(fresh_looking(torch.nn.Linear(HIDDEN, 1).weight.detach(), {}))


@pytest.mark.parametrize("change", ["wider", "shifted"])
def test_weights_that_moved_are_not(change: str) -> None:
    weights = torch.randn(1, HIDDEN, generator=torch.Generator().manual_seed(0)) * 0.02
    moved = weights * 1.3 if change == "wider" else weights + 0.01

    assert fresh_looking(moved, {"initializer_range": 0.02}) is None
