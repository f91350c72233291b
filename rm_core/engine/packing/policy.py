"""The selection of packs from a queue: policy alone, no threads, no clock, no torch.

`select_pack` is FIFO for each caller of a class; callers have their turns by deficit round robin.
The first in turn is in every pack; around it gather the members of its prompt group, which share a
prefix, and then whole groups in turn as long as they fit. `PriorityRotation` says which class
stands first: interactive, but every few packs bulk. Together they starve nobody: an entry of a lone
caller with k others of its class before it is in one of the next (k + 1) · every packs, and among
several callers each has its share of what packs hold.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Generic, Literal, Protocol, TypeVar

from rm_core.engine.packing.turns import DeficitRoundRobin

Priority = Literal["interactive", "bulk"]

MAX_MISSES = 8
"""After so many groups that didn't fit, the pack is full enough: trying the rest of a long queue
would take more time than what is left of the budget saves."""

Item = TypeVar("Item")
Item_contra = TypeVar("Item_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class QueuedSequence(Generic[Item]):
    """A sequence that waits for the device.

    Attributes:
        item: what the pack's cost is computed from.
        order: arrival, ascending; unique.
        group: sequences of one prompt have equal groups and are packed together where possible.
        priority: its class.
        caller: whose it is; callers of a class are served in turn.
        round: what stands before the order of arrival among a caller's; see `ArrivalRounds`.
    """

    item: Item
    order: int
    group: Hashable
    priority: Priority = "interactive"
    caller: Hashable = None
    round: int = 0


@dataclass(frozen=True, slots=True)
class Budget:
    """What one pack may hold.

    Attributes:
        max_tokens: sum of costs; a single sequence above it still goes, alone.
        max_items: sequences.
    """

    max_tokens: int
    max_items: int


Turns = Mapping[Priority, DeficitRoundRobin[Hashable]]
"""The turns of the callers of each class."""

ROUNDS_PER_PACK = 8
"""Callers who all have much waiting are in every pack, up to so many of them."""


def new_turns(max_pack_tokens: int) -> Turns:
    """Turns of callers of whom nobody has been served yet, for packs of so many tokens."""
    quantum = max(1, max_pack_tokens // ROUNDS_PER_PACK)
    return {"interactive": DeficitRoundRobin(quantum), "bulk": DeficitRoundRobin(quantum)}


def copy_turns(turns: Turns) -> Turns:
    """The same turns apart, for a pack that may not be taken."""
    return {priority: callers.copy() for priority, callers in turns.items()}


@dataclass(slots=True)
class PriorityRotation:
    """The priority class that stands first in line, pack after pack.

    Attributes:
        every: of so many packs in a row one starts with bulk work if any waits; at least 1.
    """

    every: int = 4
    _since_bulk: int = field(init=False, default=0)

    def next(self, *, interactive_waits: bool, bulk_waits: bool) -> Priority:
        """The class that the next pack starts with."""
        due = self._since_bulk + 1 >= self.every
        if bulk_waits and (due or not interactive_waits):
            self._since_bulk = 0
            return "bulk"
        self._since_bulk = self._since_bulk + 1 if bulk_waits else 0
        return "interactive"


class Pack(Protocol[Item_contra]):
    """The cost of a pack as it grows; costs may depend on what the pack already holds."""

    def cost(self, items: Sequence[Item_contra]) -> int:
        """Tokens that the pack would grow by with `items`, without adding them."""
        ...

    def add(self, item: Item_contra) -> None:
        """Put `item` into the pack."""
        ...


class HasNumTokens(Protocol):
    """Anything with a length."""

    @property
    def num_tokens(self) -> int:
        """Length in tokens."""
        ...


class TokenSum:
    """The plain cost: every token of every sequence counts."""

    def cost(self, items: Sequence[HasNumTokens]) -> int:
        """Sum of the items' tokens."""
        return sum(item.num_tokens for item in items)

    def add(self, item: HasNumTokens) -> None:
        """Nothing to remember: no item changes another's cost."""


def select_pack(
    waiting: Sequence[QueuedSequence[Item]],
    budget: Budget,
    new_pack: Callable[[], Pack[Item]],
    *,
    first: Priority = "interactive",
    turns: Turns | None = None,
) -> list[int]:
    """Choose the next pack.

    Args:
        waiting: everything that waits, in any order.
        budget: the pack's bounds.
        new_pack: makes the empty pack whose costs the budget limits (`TokenSum` for plain tokens).
        first: the class that stands first in line; the other fills up what is left.
        turns: of the callers; each is charged for what he gets. None: they begin with this pack.

    Returns:
        Indices into `waiting`, in the order of the pack; empty only if nothing waits. It always
        holds the first in turn, and else never exceeds the budget.
    """
    if not waiting:
        return []
    places = [(entry.round, entry.order) for entry in waiting]
    groups: dict[Hashable, list[int]] = defaultdict(list)
    lanes: _Lanes = {"interactive": defaultdict(list), "bulk": defaultdict(list)}
    for index in sorted(range(len(waiting)), key=places.__getitem__):
        entry = waiting[index]
        groups[entry.group].append(index)
        lanes[entry.priority][entry.caller].append(index)

    filling = _PackBuilder(waiting, budget, new_pack(), turns or new_turns(budget.max_tokens))
    misses = 0
    for lead in _leads(lanes, groups, filling, first):
        members = groups.pop(waiting[lead].group)
        members.sort(key=lambda index: waiting[index].priority != first)
        own = [index for index in members if waiting[index].caller == waiting[lead].caller]
        others = [index for index in members if waiting[index].caller != waiting[lead].caller]
        # The first in turn goes whatever its cost, and its group as far as there is room. A later
        # group that doesn't fit whole keeps together for the next pack, unless none could hold it;
        # but no caller waits because others have the same prompt.
        if not filling.chosen:
            filling.take(lead)
            filling.take_fitting([index for index in (*own, *others) if index != lead])
        elif filling.fits(members):
            filling.take_all(members)
        elif others and filling.fits(own):
            filling.take_all(own)
        elif _exceeds_any_pack(members, waiting, budget, new_pack):
            filling.take_fitting(members)
            misses += 1
        else:
            misses += 1
        if filling.is_full or misses >= MAX_MISSES:
            break
    return filling.chosen


_Lanes = dict[Priority, dict[Hashable, list[int]]]
"""Of each class and each of its callers, indices in order of arrival."""


def _leads(
    lanes: _Lanes,
    groups: Mapping[Hashable, Sequence[int]],
    filling: "_PackBuilder[Item]",
    first: Priority,
) -> Iterator[int]:
    """Whoever is first in turn, again and again, of the groups that are still to be looked at."""
    for priority, lane in lanes.items():
        filling.turns[priority].only(lane)
    for priority in sorted(lanes, key=lambda one: one != first):
        callers = filling.turns[priority]
        ahead = {caller: iter(own) for caller, own in lanes[priority].items()}
        while ahead:
            caller = callers.next(ahead)
            for index in ahead[caller]:
                if filling.waiting[index].group in groups:
                    yield index
                    break
            else:
                del ahead[caller]
                if filling.holds(lanes[priority][caller]):
                    callers.leave(caller)


@dataclass(slots=True)
class _PackBuilder(Generic[Item]):
    waiting: Sequence[QueuedSequence[Item]]
    budget: Budget
    pack: Pack[Item]
    turns: Turns
    tokens_per_item: int = field(init=False)
    chosen: list[int] = field(default_factory=list)
    tokens: int = 0

    def __post_init__(self) -> None:
        # What a sequence takes of a pack at least, as it takes one of its places.
        self.tokens_per_item = -(-self.budget.max_tokens // self.budget.max_items)

    @property
    def is_full(self) -> bool:
        return (
            len(self.chosen) >= self.budget.max_items or self.tokens >= self.budget.max_tokens
        ) and bool(self.chosen)

    def holds(self, members: Sequence[int]) -> bool:
        return set(self.chosen).issuperset(members)

    def fits(self, members: Sequence[int]) -> bool:
        if len(self.chosen) + len(members) > self.budget.max_items:
            return False
        cost = self.pack.cost([self.waiting[index].item for index in members])
        return self.tokens + cost <= self.budget.max_tokens

    def take(self, index: int) -> None:
        entry = self.waiting[index]
        cost = self.pack.cost([entry.item])
        self.tokens += cost
        self.pack.add(entry.item)
        self.chosen.append(index)
        self.turns[entry.priority].charge(entry.caller, max(cost, self.tokens_per_item))

    def take_all(self, members: Sequence[int]) -> None:
        for index in members:
            self.take(index)

    def take_fitting(self, members: Sequence[int]) -> None:
        for index in members:
            if self.is_full:
                return
            if self.fits([index]):
                self.take(index)


def consecutive_packs(lengths: Iterable[int], max_tokens: int | None) -> list[range]:
    """Packs of neighbours, for texts whose order is right already.

    Args:
        lengths: of the texts, in tokens.
        max_tokens: of a pack, but for a single longer text; None: no limit.

    Returns:
        Indices of each pack, none empty; together all of them.
    """
    borders, tokens = [0], 0
    count = 0
    for count, length in enumerate(lengths, 1):
        tokens += length
        if max_tokens is not None and tokens > max_tokens and count - 1 > borders[-1]:
            borders.append(count - 1)
            tokens = length
    return [range(start, end) for start, end in pairwise([*borders, count]) if start < end]


def _exceeds_any_pack(
    members: Sequence[int],
    waiting: Sequence[QueuedSequence[Item]],
    budget: Budget,
    new_pack: Callable[[], Pack[Item]],
) -> bool:
    if len(members) > budget.max_items:
        return True
    return new_pack().cost([waiting[index].item for index in members]) > budget.max_tokens


@dataclass(slots=True)
class TokenBudgetController:
    """The token budget of packs, lowered where the device runs out of memory, and raised again.

    A failure lowers the cap to half of what failed, or to the most that is known to fit; a run of
    successes at the cap raises it by a quarter, and each failed attempt doubles the next run.

    Attributes:
        configured: the cap that the settings ask for.
        probe_after: successes at the cap before the first attempt to raise it.
    """

    configured: int
    probe_after: int = 8
    _cap: int = field(init=False)
    _fits: int = field(init=False, default=0)
    _successes: int = field(init=False, default=0)
    _run: int = field(init=False)
    _raised: bool = field(init=False, default=False)

    _MAX_RUN = 1024

    def __post_init__(self) -> None:
        self._cap = self.configured
        self._run = self.probe_after

    @property
    def tokens(self) -> int:
        """The most tokens for the next pack, at least 1."""
        return self._cap

    @property
    def is_lowered(self) -> bool:
        """Whether memory, and not the settings, bounds the packs."""
        return self._cap < self.configured

    def exceeded(self, tokens: int, num_items: int) -> bool:
        """Whether a pack must be halved untried: the cap was lowered since the pack was chosen."""
        return num_items > 1 and tokens > self._cap

    def failed(self, tokens: int) -> None:
        """A pack of `tokens` did not fit."""
        if self._fits >= tokens:
            self._fits = 0  # what fitted once no longer does
        if self._raised:
            self._run = min(2 * self._run, self._MAX_RUN)
        self._cap = max(1, min(self._cap, max(tokens // 2, self._fits)))
        self._successes = 0
        self._raised = False

    def succeeded(self, tokens: int) -> None:
        """A pack of `tokens` fitted."""
        self._fits = max(self._fits, tokens)
        # Only packs near the cap say something about it.
        if not self.is_lowered or 2 * tokens <= self._cap:
            return
        self._successes += 1
        if self._successes >= self._run:
            self._raised = True
            self._cap = min(self.configured, self._cap + max(1, self._cap // 4))
            self._successes = 0
