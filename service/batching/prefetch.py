"""The next pack, chosen and planned while the device works on the present one.

A plan is kept only where it would be chosen again when the device is free: whoever was left out
didn't fit, and those who came later stand behind them. A newcomer to a group in the pack, or one
that goes before a part of it, makes the plan void. The one thing lost is that a newcomer might have
filled a gap at the pack's end; it goes with the next.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from rm_core.engine.packing.policy import Priority
from service.batching.queue import Entry


@dataclass(frozen=True, slots=True)
class PlannedPack:
    """A pack chosen ahead of its time.

    Attributes:
        entries: of the pack, in its order.
        first: the class that stood first in line.
        max_tokens: the budget that it was chosen for.
        groups: prompt groups of its entries.
        newest: arrival number of the youngest entry that was looked at.
    """

    entries: tuple[Entry, ...]
    first: Priority
    max_tokens: int
    groups: frozenset[Hashable]
    newest: int

    def is_valid(self, queue: Sequence[Entry], first: Priority, max_tokens: int) -> bool:
        """Whether choosing now from `queue`, for this class and budget, would give the same."""
        if (first, max_tokens) != (self.first, self.max_tokens):
            return False
        present = {id(entry) for entry in queue}
        if not all(id(entry) in present for entry in self.entries):
            return False
        mixed = any(entry.request.submission.priority != first for entry in self.entries)
        return not any(
            entry.waiting.group in self.groups
            or (mixed and entry.request.submission.priority == first)
            for entry in queue
            if entry.waiting.order > self.newest
        )


def plan_from(
    queue: Sequence[Entry],
    select_pack: Callable[[Sequence[Entry], Priority], list[int]],
    *,
    first: Priority,
    max_tokens: int,
) -> PlannedPack | None:
    """The pack that would be taken now; None if everything that waits fits, so that more may come.

    Args:
        queue: what waits.
        select_pack: the policy: queue and first class → indices.
        first: the class that stands first in line.
        max_tokens: budget of a pack.
    """
    chosen = select_pack(queue, first)
    if len(chosen) == len(queue):
        return None
    entries = tuple(queue[index] for index in chosen)
    return PlannedPack(
        entries,
        first,
        max_tokens,
        frozenset(entry.waiting.group for entry in entries),
        max(entry.waiting.order for entry in queue),
    )
