"""Whose turn it is among callers: deficit round robin.

After M. Shreedhar and G. Varghese, "Efficient Fair Queueing Using Deficit Round Robin" (SIGCOMM
1995): in each round every caller who waits earns the same, and whoever has credit is served. He may
overdraw it, as a prompt's responses go together; the debt is paid by rounds in which the others are
served. So of two callers who both have something waiting all the time, neither is ever ahead of
the other by more than the quantum and what one may take at a time.
"""

from collections.abc import Collection, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Caller = TypeVar("Caller", bound=Hashable)


@dataclass(slots=True)
class DeficitRoundRobin(Generic[Caller]):
    """The turns of callers, counted in whatever is shared out among them.

    Attributes:
        quantum: what each earns in a round; at least 1.
    """

    quantum: int
    # Of those who wait; who has used his credit up goes to the end.
    _credit: dict[Caller, int] = field(init=False, default_factory=dict)
    # Of those who don't wait now: who left with a debt has it still when he comes back.
    _debts: dict[Caller, int] = field(init=False, default_factory=dict)

    def wait(self, caller: Caller) -> None:
        """A caller has something waiting; no change if he had before."""
        if caller not in self._credit:
            self._credit[caller] = self._debts.pop(caller, 0)

    def leave(self, caller: Caller) -> None:
        """Nothing of a caller waits any more: credit is lost, so that nobody saves it up.

        Where nobody else waits, nobody went short, and all debts are forgotten.
        """
        credit = self._credit.pop(caller, 0)
        if not self._credit:
            self._debts.clear()
        elif credit < 0:
            self._debts[caller] = credit

    def only(self, waiting: Collection[Caller]) -> None:
        """Exactly these callers have something waiting."""
        for caller in waiting:
            self.wait(caller)
        for caller in [one for one in self._credit if one not in waiting]:
            self.leave(caller)

    def next(self, servable: Collection[Caller]) -> Caller:
        """Whose turn it is; the same until he is charged or gone.

        Args:
            servable: who can be served now; at least one, and all of them wait.
        """
        while True:
            for caller, credit in self._credit.items():
                if credit > 0 and caller in servable:
                    return caller
            # As many rounds at once as pass before one of them has credit.
            rounds = min((self.quantum - self._credit[one]) // self.quantum for one in servable)
            self._earn(rounds * self.quantum)

    def charge(self, caller: Caller, amount: int) -> None:
        """Take what a caller was given off his credit; he must wait."""
        credit = self._credit[caller] - amount
        if credit <= 0:
            del self._credit[caller]
        self._credit[caller] = credit

    def copy(self) -> "DeficitRoundRobin[Caller]":
        """The same state apart, for a choice that may not be carried out."""
        copied: DeficitRoundRobin[Caller] = DeficitRoundRobin(self.quantum)
        copied._credit = dict(self._credit)
        copied._debts = dict(self._debts)
        return copied

    def _earn(self, amount: int) -> None:
        for caller in self._credit:
            self._credit[caller] += amount
        owed = {caller: debt + amount for caller, debt in self._debts.items()}
        self._debts = {caller: debt for caller, debt in owed.items() if debt < 0}


@dataclass(slots=True)
class ArrivalRounds:
    """An order for the requests of one caller in which many of one kind hold up none of another.

    Each kind has one request in a round. The lines of an NDJSON stream are a kind, and all requests
    that are no lines are one: so streams go on evenly, and what isn't a line goes in its order.
    """

    _present: int = field(init=False, default=0)
    _last: dict[Hashable, int] = field(init=False, default_factory=dict)

    def next(self, kind: Hashable) -> int:
        """The round of the next request of a kind, ascending for each."""
        own = max(self._present, self._last.get(kind, -1) + 1)
        self._last[kind] = own
        return own

    def reached(self, present: int) -> None:
        """A request of this round is served; nobody who comes now stands before it."""
        if present > self._present:
            self._present = present
            self._last = {kind: last for kind, last in self._last.items() if last >= present}
