"""The numbers of rows in which a trunk is run so that each row has the same bits in all of them.

A product's rounding depends on its shape: libraries choose blocking and kernels by the number of
rows. Large shapes are faster, and a small one wastes little on a short text; whether a row comes
out the same in both differs from product to product and from one processor to the next. In which
order a kernel adds up does not depend on the numbers that it adds, so it can be tried: equal rows
must come out equal, at every place of a chunk and in chunks of every size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rm_core.engine.trunk.deterministic import ROWS

SIZES = (8 * ROWS, 4 * ROWS, 2 * ROWS, ROWS)
"""Rows of a chunk that are tried, largest first."""


class PlaceMatters(Exception):
    """A row's bits depend on where it stands in a chunk of the smallest size."""


@dataclass(frozen=True, slots=True)
class RowShapes:
    """Sizes of chunks, the largest first, all multiples of the last.

    Attributes:
        sizes: rows of a chunk.
    """

    sizes: tuple[int, ...] = (ROWS,)

    def padded(self, rows: int) -> int:
        """The number of rows with what must be filled up."""
        return -(-rows // self.sizes[-1]) * self.sizes[-1]

    def cut(self, rows: int) -> list[slice]:
        """Chunks of that many rows, a multiple of the smallest size, largest first."""
        chunks, start = [], 0
        for size in self.sizes:
            while rows - start >= size:
                chunks.append(slice(start, start + size))
                start += size
        return chunks


def tried_shapes(
    run: Callable[[Tensor], Tensor], row: Tensor, sizes: Sequence[int] = SIZES
) -> RowShapes:
    """Those of the sizes in which a row has the same bits at every place as in the smallest.

    Args:
        run: (rows, features in) → (rows, …), each row by itself; may change what it is given.
        row: random numbers, (features in,).
        sizes: largest first.

    Raises:
        PlaceMatters: in the smallest size the row's bits depend on its place.
    """
    smallest = run(row.repeat(sizes[-1], 1))
    expected = smallest[0].clone()
    if not bool((smallest == expected).all()):
        raise PlaceMatters("a row's bits depend on its place in a matrix product")
    alike = [size for size in sizes[:-1] if bool((run(row.repeat(size, 1)) == expected).all())]
    return RowShapes((*alike, sizes[-1]))


@torch.inference_mode()
def random_row(features: int, dtype: torch.dtype) -> Tensor:
    """Numbers to try shapes with, (features,); the same each time."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(features, generator=generator).to(dtype)
