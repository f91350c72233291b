"""Heads are evaluated in float32, with or without bias, one or many."""

import pytest
import torch
from torch.nn import Linear

from rm_core.errors import WrongNumLabels
from rm_core.heads import ScalarHeads


def test_heads_on_one_trunk_give_one_column_each() -> None:
    with_bias, without = Linear(3, 1), Linear(3, 1, bias=False)
    hidden = torch.randn(5, 3)

    rewards = torch.tensor(ScalarHeads([with_bias, without])(hidden))

    assert torch.allclose(rewards[:, :1], with_bias(hidden))
    assert torch.allclose(rewards[:, 1:], without(hidden))


def test_a_reduced_precision_trunk_is_read_in_float32() -> None:
    head = Linear(64, 1, bias=False)
    hidden = torch.randn(2, 64).bfloat16()

    rewards = torch.tensor(ScalarHeads([head])(hidden))

    assert torch.allclose(rewards, head(hidden.float()), atol=1e-6)


def test_a_head_with_two_outputs_is_refused() -> None:
    with pytest.raises(WrongNumLabels, match="this one 2"):
        ScalarHeads([Linear(3, 2)])
