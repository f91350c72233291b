"""Element-wise operations whose bits depend on neither a tensor's size nor an element's place.

Torch computes most of a tensor by vector instructions and what is left over by the C library's
functions, which round otherwise. Where many threads share the work, each has something left over.
So a tensor is cut into pieces in which nothing is: whole vectors, and whole ones for each thread.

Sums, differences and products need no such care, each for itself: they are rounded as IEEE 754
says by every instruction.
"""

from collections.abc import Callable

import torch
from torch import Tensor

VECTOR = 64
"""Elements that the widest vector loop takes at once, or a multiple of it: two AVX-512 registers
hold 32 float32 values or 64 of half precision."""

GRAIN = 32768
"""Elements from which on torch shares an operation between threads (`at::internal::GRAIN_SIZE`),
each taking at least so many."""


def in_whole_vectors(operation: Callable[..., object], *tensors: Tensor) -> None:
    """Apply an in-place operation to tensors, in pieces that leave no vector unfilled.

    Args:
        operation: takes flat pieces of the tensors, element by element of the first, and writes
            into one of them.
        tensors: of one size, contiguous, their number of elements a multiple of `VECTOR`.
    """
    flat = [tensor.view(-1) for tensor in tensors]
    start = 0
    for size in _pieces(flat[0].numel(), torch.get_num_threads()):
        operation(*(each[start : start + size] for each in flat))
        start += size


def _pieces(elements: int, threads: int) -> list[int]:
    """Sizes that threads share in whole grains, all of them and then some; one takes the rest."""
    shared = elements // (GRAIN * threads) * GRAIN * threads
    few = (elements - shared) // GRAIN * GRAIN
    return [size for size in (shared, few, elements - shared - few) if size]
