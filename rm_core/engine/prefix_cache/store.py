"""Where a prefix cache's keys and values lie: one allocation for each run of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import torch
from torch import Tensor

from rm_core.engine.attention.kept import KeptRun

Shape = tuple[int, int]
"""Of one token's keys or values: heads and head_dim."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a trunk's layers keep of one token.

    Attributes:
        keys: by layer.
        values: by layer.
        dtype: of both.
        device: that they lie on.
    """

    keys: tuple[Shape, ...]
    values: tuple[Shape, ...]
    dtype: torch.dtype
    device: torch.device

    @property
    def token_bytes(self) -> int:
        """Bytes of a token's keys and values in all layers."""
        return self.dtype.itemsize * sum(map(prod, (*self.keys, *self.values)))

    def empty(self, tokens: int) -> KeptRun:
        """Memory for a run, of which nothing is written yet; freed with the run's last tensor."""
        shapes = (*self.keys, *self.values)
        sizes = [tokens * prod(shape) for shape in shapes]
        whole = torch.empty(sum(sizes), dtype=self.dtype, device=self.device)
        parts = [
            part.view(tokens, *shape)
            for part, shape in zip(torch.split(whole, sizes), shapes, strict=True)
        ]
        return KeptRun(tuple(parts[: len(self.keys)]), tuple(parts[len(self.keys) :]))

    def joined(self, runs: Sequence[KeptRun]) -> KeptRun:
        """A copy of runs that follow each other as one, in memory of its own."""
        lengths = [len(run.keys[0]) for run in runs]
        whole = self.empty(sum(lengths))
        borders = list(pairwise((0, *(sum(lengths[: n + 1]) for n in range(len(lengths))))))
        for run, (begin, end) in zip(runs, borders, strict=True):
            for target, source in zip(_tensors(whole), _tensors(run), strict=True):
                target[begin:end].copy_(source)
        return whole

    def split(self, run: KeptRun, tokens: int) -> tuple[KeptRun, KeptRun]:
        """Copies of a run's first tokens, so many, and of the rest: its own memory is given back.

        Views would keep all of it alive as long as either part.
        """
        return self.joined([part(run, 0, tokens)]), self.joined([part(run, tokens, None)])


def part(run: KeptRun, begin: int, end: int | None) -> KeptRun:
    """Some of a run's tokens, without copying."""
    return KeptRun(
        tuple(key[begin:end] for key in run.keys), tuple(value[begin:end] for value in run.values)
    )


def _tensors(run: KeptRun) -> tuple[Tensor, ...]:
    return (*run.keys, *run.values)
