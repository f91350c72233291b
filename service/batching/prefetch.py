"""The next pack, chosen and planned while the device works on the present one.

A plan is kept only where it would be chosen again when the device is free: whoever was left out
didn't fit, and what their callers sent later stands behind them. A newcomer to a group in the pack,
or one that goes before a part of it, or whose caller has no other text left, makes the plan void.
The one thing lost is that a newcomer might have filled a gap at the pack's end; it goes with the
next.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from rm_core.engine.packing.policy import Priority, Turns
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
        left: callers of the class that stood first of whom something is left out.
        turns: of the callers, once the pack is taken.
    """

    entries: tuple[Entry, ...]
    first: Priority
    max_tokens: int
    groups: frozenset[Hashable]
    newest: int
    left: frozenset[Hashable]
    turns: Turns

    def is_valid(self, queue: Sequence[Entry], first: Priority, max_tokens: int) -> bool:
        """Whether choosing now from `queue`, for this class and budget, would give the same."""
        if (first, max_tokens) != (self.first, self.max_tokens):
            return False
        present = {id(entry) for entry in queue}
        if not all(id(entry) in present for entry in self.entries):
            return False
        return not any(
            entry.waiting.group in self.groups
            or (entry.waiting.priority == first and self._goes_before(entry))
            for entry in queue
            if entry.waiting.order > self.newest
        )

    def _goes_before(self, newcomer: Entry) -> bool:
        """Whether a newcomer of the first class might come before some of the pack."""
        new, pack = newcomer.waiting, [entry.waiting for entry in self.entries]
        if new.caller not in self.left or any(one.priority != self.first for one in pack):
            return True
        return any(one.caller == new.caller and one.round > new.round for one in pack)


def plan_from(
    queue: Sequence[Entry],
    select_pack: Callable[[Sequence[Entry], Priority, Turns], list[int]],
    *,
    first: Priority,
    max_tokens: int,
    turns: Turns,
) -> PlannedPack | None:
    """The pack that would be taken now; None if everything that waits fits, so that more may come.

    Args:
        queue: what waits.
        select_pack: the policy: queue, first class and turns → indices.
        first: the class that stands first in line.
        max_tokens: budget of a pack.
        turns: of the callers; the choice is charged to them, so they are the plan's own.
    """
    chosen = select_pack(queue, first, turns)
    if len(chosen) == len(queue):
        return None
    entries = tuple(queue[index] for index in chosen)
    taken = set(chosen)
    left = (entry.waiting for index, entry in enumerate(queue) if index not in taken)
    return PlannedPack(
        entries,
        first,
        max_tokens,
        frozenset(entry.waiting.group for entry in entries),
        max(entry.waiting.order for entry in queue),
        frozenset(waiting.caller for waiting in left if waiting.priority == first),
        turns,
    )
