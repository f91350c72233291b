"""In what order a run sees its examples: random, neighbours alike in length, reproducible."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import TrainerCallback


class LengthGroupedOrder(Sampler[int]):
    """A new random order each epoch in which every batch holds lengths alike.

    The order depends on (seed, epoch) alone, not on the global random state, so that a resumed run
    sees what the uninterrupted one would have seen. It is the same for any number of processes,
    which take its batches in turn; where they don't come out even, the index after the last stands
    for a filler.

    Args:
        lengths: tokens of each example.
        batch_size: examples in a batch.
        seed: of the order.
        processes: how many take batches in turn.
        pool_batches: batches' worth of random examples that are sorted together; more waste less
            padding and mix less.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        batch_size: int,
        seed: int,
        processes: int = 1,
        pool_batches: int = 16,
    ) -> None:
        self._lengths = list(lengths)
        self._batch_size = batch_size
        self._pool = batch_size * pool_batches
        self._seed = seed
        self._epoch = 0
        # One process needs no filler: its last batch may be short.
        round_of_batches = batch_size * processes if processes > 1 else 1
        self._fillers = -len(self._lengths) % round_of_batches

    def __len__(self) -> int:
        return len(self._lengths) + self._fillers

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order `iter` gives."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        shuffled = torch.randperm(len(self._lengths), generator=generator).tolist()
        batches: list[list[int]] = []
        for start in range(0, len(shuffled), self._pool):
            pool = sorted(shuffled[start : start + self._pool], key=lambda i: -self._lengths[i])
            batches.extend(
                pool[at : at + self._batch_size] for at in range(0, len(pool), self._batch_size)
            )
        # A short batch must stay last: a loader that cuts the order into batches would otherwise
        # shift every batch after it.
        full = [batch for batch in batches if len(batch) == self._batch_size]
        short = [batch for batch in batches if len(batch) < self._batch_size]
        for position in torch.randperm(len(full), generator=generator).tolist():
            yield from full[position]
        for batch in short:
            yield from batch
        # Without fillers, accelerate would fill up with examples that then count twice.
        yield from [len(self._lengths)] * self._fillers


class EpochsOrder(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Chooses the epoch's order before its first batch.

    Where several processes go on within an epoch, accelerate (1.15) wraps their shares once more
    to skip what has been seen, and the epoch that `Trainer` sets does not get through to the order.
    """

    def on_epoch_begin(
        self, _args: Any, state: Any, _control: Any, train_dataloader: Any, **_: Any
    ) -> None:
        """Tell the loader below the one that skips; they share the order."""
        train_dataloader.set_epoch(int(state.epoch))
