import pytest
import torch

from rm_core.errors import ShapeMismatch
from tests.training.losses.values import tensor
from training.losses.shapes import means_of_runs, sums_of_runs


def test_neighbours_are_summed_and_averaged() -> None:
    counts = torch.tensor([2, 1])
    assert sums_of_runs(tensor(1, 3, 5), counts).tolist() == [4, 5]
    assert means_of_runs(tensor(1, 3, 5), counts).tolist() == [2, 5]
    assert sums_of_runs(tensor(1), torch.tensor([0, 1, 0])).tolist() == [0, 1, 0]
    assert means_of_runs(torch.zeros(0), torch.zeros(0, dtype=torch.long)).tolist() == []


def test_runs_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ShapeMismatch, match="add up"):
        sums_of_runs(tensor(1, 2), torch.tensor([1, 2]))
