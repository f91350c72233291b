"""Chunks have the sizes in which a row, wherever it stands, has the same bits."""

import pytest
import torch
from torch import Tensor

from rm_core.engine.trunk.row_shapes import PlaceMatters, RowShapes, random_row, tried_shapes


def test_rows_are_cut_into_the_largest_chunks_first() -> None:
    shapes = RowShapes((8, 4, 2))

    assert [shapes.padded(rows) for rows in (1, 2, 13)] == [2, 2, 14]
    cut = [(chunk.start, chunk.stop) for chunk in shapes.cut(30)]
    assert cut == [(0, 8), (8, 16), (16, 24), (24, 28), (28, 30)]


def test_a_size_that_rounds_otherwise_is_left_out() -> None:
    def run(rows: Tensor) -> Tensor:
        return rows * (1 + 1e-7) if len(rows) == 4 else rows

    assert tried_shapes(run, random_row(5, torch.float32), (8, 4, 2)).sizes == (8, 2)


def test_a_size_in_which_one_place_rounds_otherwise_is_left_out() -> None:
    def run(rows: Tensor) -> Tensor:
        rows[7:] *= 1 + 1e-7
        return rows

    assert tried_shapes(run, random_row(5, torch.float32), (8, 4, 2)).sizes == (4, 2)
    with pytest.raises(PlaceMatters, match="place"):
        tried_shapes(run, random_row(5, torch.float32), (16, 8))
