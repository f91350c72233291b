"""A line of waiters before something that is sometimes full: callers in turn, and their requests.

Of a lone caller's requests the first come is the first served. Where several callers wait, each
gets as much as the others (`rm_core.engine.packing.turns`), and so do the requests of each: a large
one, or an NDJSON stream that goes on and on, holds up none of the others.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple

from rm_core.engine.packing.turns import DeficitRoundRobin
from service.batching.queue import Flow

_Turn = asyncio.Future[None]


class _First(NamedTuple):
    """Who is served next, and how much it waits for."""

    flow: Flow
    request: Hashable
    turn: _Turn
    amount: int


class _Requests:
    """What waits of one flow: of each of its requests, in order of arrival."""

    def __init__(self) -> None:
        self.waiting: dict[Hashable, OrderedDict[_Turn, int]] = {}
        self.turns: DeficitRoundRobin[Hashable] = DeficitRoundRobin(1)


class Line:
    """Who waits until there is enough for the first; those behind wait for the first as well.

    Nobody polls: whoever gives something back calls `serve`. Belongs to one event loop.

    Args:
        take: takes so much for a flow if it is there, and says whether it did.
        give_back: undoes that.
    """

    def __init__(
        self,
        take: Callable[[int, Flow], bool],
        give_back: Callable[[int, Flow], None],
    ) -> None:
        self._take = take
        self._give_back = give_back
        self._flows: dict[Flow, _Requests] = {}
        self._turns: DeficitRoundRobin[Flow] = DeficitRoundRobin(1)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def first_wants(self) -> int:
        """How much the first in line waits for; 0 where nobody waits."""
        return self._first().amount if self._length else 0

    async def join(self, amount: int, flow: Flow, request: Hashable) -> None:
        """Return once `amount` was taken; cancelling leaves the line, and nothing is taken.

        Args:
            amount: how much.
            flow: what takes turns with other callers' work.
            request: what takes turns with the flow's other requests.
        """
        if not self._length and self._take(amount, flow):
            return
        turn = asyncio.get_running_loop().create_future()
        self._add(_First(flow, request, turn, amount))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # its turn came in the same moment
                self._give_back(amount, flow)
            elif self._holds(flow, request, turn):
                self._remove(flow, request, turn)
                self.serve()  # the one behind may want less
            raise

    def serve(self) -> None:
        """Give the first what it waits for, and those behind, as far as it goes."""
        while self._length:
            first = self._first()
            if not first.turn.cancelled():
                if not self._take(first.amount, first.flow):
                    return
                first.turn.set_result(None)
                self._flows[first.flow].turns.charge(first.request, first.amount)
                self._turns.charge(first.flow, first.amount)
            self._remove(first.flow, first.request, first.turn)

    def _first(self) -> _First:
        flow = self._turns.next(self._flows)
        own = self._flows[flow]
        request = own.turns.next(own.waiting)
        turn, amount = next(iter(own.waiting[request].items()))
        return _First(flow, request, turn, amount)

    def _add(self, waiter: _First) -> None:
        self._turns.wait(waiter.flow)
        own = self._flows.setdefault(waiter.flow, _Requests())
        own.turns.wait(waiter.request)
        own.waiting.setdefault(waiter.request, OrderedDict())[waiter.turn] = waiter.amount
        self._length += 1

    def _holds(self, flow: Flow, request: Hashable, turn: _Turn) -> bool:
        own = self._flows.get(flow)
        return own is not None and turn in own.waiting.get(request, ())

    def _remove(self, flow: Flow, request: Hashable, turn: _Turn) -> None:
        own = self._flows[flow]
        del own.waiting[request][turn]
        self._length -= 1
        if not own.waiting[request]:
            del own.waiting[request]
            own.turns.leave(request)
        if not own.waiting:
            del self._flows[flow]
            self._turns.leave(flow)
