"""Pieces leave no thread a vector unfilled, whatever the number of threads."""

import pytest
import torch

from rm_core.engine.elementwise import GRAIN, VECTOR, _pieces, in_whole_vectors


@pytest.mark.parametrize("threads", [1, 2, 3, 5, 7, 16])
@pytest.mark.parametrize("elements", [64, 96 * 704, 768 * 704, 96 * 1408, 5 * GRAIN + 64])
def test_every_thread_has_whole_vectors(elements: int, threads: int) -> None:
    pieces = _pieces(elements, threads)

    assert sum(pieces) == elements
    assert len(pieces) <= 3
    for piece in pieces:
        shared_by = min(threads, -(-piece // GRAIN))
        assert -(-piece // shared_by) % VECTOR == 0
        assert piece % VECTOR == 0


def test_all_elements_are_met_once_in_step() -> None:
    first, second = torch.zeros(3, GRAIN), torch.arange(3 * GRAIN).view(3, GRAIN)

    in_whole_vectors(lambda one, other: one.add_(other), first, second)

    assert torch.equal(first, second.float())
