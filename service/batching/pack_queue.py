"""The entries that wait for the device, and which of them it takes next.

The policy chooses (`rm_core.engine.packing.policy`); here it is told what waits and whose turn it
is, and its choice is made ahead of time where that is possible. Belongs to one event loop.
"""

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from rm_core.engine.packing.cost import PlainCost, SharedPrefixCost, new_cost
from rm_core.engine.packing.policy import (
    Budget,
    Priority,
    PriorityRotation,
    TokenBudgetController,
    Turns,
    copy_turns,
    new_turns,
    select_pack,
)
from rm_core.engine.packing.turns import ArrivalRounds
from service.batching.prefetch import PlannedPack, plan_from
from service.batching.queue import Entry, Flow, PendingRequest


class PackQueue:
    """Entries in order of arrival, and packs of them.

    Args:
        cap: tokens of a pack, as the device's memory allows.
        max_items: entries of a pack.
        bulk_every_packs: how many packs one with bulk work first comes in.
        shares_prefixes: whether the scorer shares what texts begin with.
    """

    def __init__(
        self,
        cap: TokenBudgetController,
        max_items: int,
        bulk_every_packs: int,
        shares_prefixes: Callable[[], bool],
    ) -> None:
        self._cap = cap
        self._max_items = max_items
        self._shares_prefixes = shares_prefixes
        self._rotation = PriorityRotation(bulk_every_packs)
        self._turns = new_turns(cap.configured)
        self._entries: list[Entry] = []
        self._planned: PlannedPack | None = None
        self._rounds: defaultdict[Flow, ArrivalRounds] = defaultdict(ArrivalRounds)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    @property
    def num_tokens(self) -> int:
        """Of all entries."""
        return sum(entry.num_tokens for entry in self._entries)

    @property
    def oldest_admitted_at(self) -> float | None:
        """When the entry came that has waited longest; None where none waits."""
        return min((entry.admitted_at for entry in self._entries), default=None)

    def round_of(self, request: PendingRequest) -> int:
        """When a request's turn comes among its caller's: all its entries wait for the same."""
        if request.round is None:
            stream = request.submission.ndjson_stream
            request.round = self._rounds[request.flow].next(stream)
        return request.round

    def put(self, entry: Entry) -> None:
        """Let an entry wait behind all others."""
        self._entries.append(entry)

    def remove(self, request: PendingRequest) -> list[Entry]:
        """Take out what waits of a request, and return it."""
        removed = [entry for entry in self._entries if entry.request is request]
        if removed:
            self._entries = [entry for entry in self._entries if entry.request is not request]
        return removed

    def clear(self) -> list[Entry]:
        """Take out everything, and return it."""
        entries, self._entries = self._entries, []
        return entries

    def since(self, count: int) -> Sequence[Entry]:
        """The entries behind the first `count`."""
        return self._entries[count:]

    def take(self) -> list[Entry]:
        """Take out the next pack; something must wait."""
        first = self._next_class(self._rotation)
        planned, self._planned = self._planned, None
        if planned and planned.is_valid(self._entries, first, self._cap.tokens):
            pack, self._turns = list(planned.entries), planned.turns
        else:
            alike = self._of_one_scorer(first)
            pack = [alike[index] for index in self._select(alike, first, self._turns)]
        taken = {id(entry) for entry in pack}
        self._entries = [entry for entry in self._entries if id(entry) not in taken]
        for entry in pack:
            self._rounds[entry.request.flow].reached(entry.waiting.round)
        if not self._entries:
            self._rounds.clear()
        return pack

    def plan(self) -> list[Entry] | None:
        """Choose what will be taken next, if that is known and wasn't chosen before.

        Returns:
            The pack, to be prepared; None where nothing new was chosen.
        """
        first = self._next_class(copy.copy(self._rotation))
        planned = self._planned
        if planned is not None and planned.is_valid(self._entries, first, self._cap.tokens):
            return None
        self._planned = None
        if self.num_tokens <= self._cap.tokens and len(self) <= self._max_items:
            return None  # it all fits, and more may come
        self._planned = plan_from(
            self._of_one_scorer(first),
            self._select,
            first=first,
            max_tokens=self._cap.tokens,
            turns=copy_turns(self._turns),
        )
        return None if self._planned is None else list(self._planned.entries)

    def new_cost(self) -> SharedPrefixCost | PlainCost:
        """The empty pack of what waits; what is cached of it was looked up when it came."""
        cached = {id(entry.item): entry.cached_tokens for entry in self if entry.cached_tokens}
        return new_cost(
            shares_prefixes=self._shares_prefixes(),
            cached_tokens=lambda item: cached.get(id(item), 0),
        )

    def _of_one_scorer(self, first: Priority) -> list[Entry]:
        """What may go next: a pack is scored by one scorer, the one that its first class waits for.

        Of the class that stands first the entry that came first says which, so that those who wait
        for a scorer that was replaced are served in their order and not after all newcomers.
        """
        lead = next((entry for entry in self if entry.waiting.priority == first), None)
        scorer = None if lead is None else lead.request.submission.scorer
        return [entry for entry in self if entry.request.submission.scorer is scorer]

    def _select(self, queue: Sequence[Entry], first: Priority, turns: Turns) -> list[int]:
        budget = Budget(self._cap.tokens, self._max_items)
        waiting = [entry.waiting for entry in queue]
        return select_pack(waiting, budget, self.new_cost, first=first, turns=turns)

    def _next_class(self, rotation: PriorityRotation) -> Priority:
        return rotation.next(
            interactive_waits=any(e.waiting.priority == "interactive" for e in self),
            bulk_waits=any(e.waiting.priority == "bulk" for e in self),
        )
