"""The processes of one training: `torchrun` and `accelerate launch` start several, else it is one.

Process 0 reads, prints, measures and publishes; the others wait for it and train with it. What they
need to know of each other, they learn here; gradients are HF `Trainer`'s and accelerate's business.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, ClassVar, TypeVar

import torch
from accelerate import PartialState
from torch import distributed

from rm_core.errors import TrainingError

T = TypeVar("T")

# Reading a large data set, or measuring on it, may keep process 0 busy for hours; a group of its
# own keeps the time limit of training's collectives, which tell of a dead process, out of this.
_PATIENCE = timedelta(days=7)


class OtherProcessFailed(TrainingError):
    """Raised where process 0 failed and has said why; there is nothing to add to it."""

    code: ClassVar[str] = "other_process_failed"


@dataclass(frozen=True, slots=True)
class Processes:
    """Who we are among the processes of this training.

    Attributes:
        index: ours, from 0.
        count: how many there are.
        group: for messages of Python values on the CPU; None where there is one process.
    """

    index: int
    count: int
    group: Any = None

    @property
    def is_first(self) -> bool:
        """Whether it is ours to read, print, measure and publish."""
        return self.index == 0

    def from_first(self, make: Callable[[], T]) -> T:
        """What process 0 makes, on every process.

        Args:
            make: called on process 0 alone; its value is sent to the others.

        Raises:
            OtherProcessFailed: on the others, when `make` failed on process 0.
        """
        if self.count == 1:
            return make()
        if not self.is_first:
            return self._receive()  # type: ignore[no-any-return]
        try:
            value = make()
        except BaseException:
            self._send([False, None])  # before they wait for ever
            raise
        self._send([True, value])
        return value

    def _send(self, parcel: list[Any]) -> None:
        distributed.broadcast_object_list(parcel, src=0, group=self.group)

    def _receive(self) -> Any:
        parcel: list[Any] = [None, None]
        distributed.broadcast_object_list(parcel, src=0, group=self.group)
        made, value = parcel
        if not made:
            raise OtherProcessFailed("process 0 failed; see its message")
        return value


@cache
def join_processes() -> Processes:
    """Join the processes that were started together; alone where none were.

    All of them must call it. It is cheap to call again.
    """
    state = PartialState(cpu=not torch.cuda.is_available())
    if state.num_processes == 1:
        return Processes(0, 1)
    group = distributed.new_group(backend="gloo", timeout=_PATIENCE)
    return Processes(state.process_index, state.num_processes, group)
