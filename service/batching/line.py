"""A line of waiters before something that is sometimes full: first come, first served."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable


class Line:
    """Who waits until there is enough for the first; those behind wait for the first as well.

    Nobody polls: whoever gives something back calls `serve`. Belongs to one event loop.

    Args:
        take: takes so much if it is there, and says whether it did.
        give_back: undoes that.
    """

    def __init__(self, take: Callable[[int], bool], give_back: Callable[[int], None]) -> None:
        self._take = take
        self._give_back = give_back
        self._waiting: OrderedDict[asyncio.Future[None], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def first_wants(self) -> int:
        """How much the first in line waits for; 0 where nobody waits."""
        return next(iter(self._waiting.values()), 0)

    async def join(self, amount: int) -> None:
        """Return once `amount` was taken; cancelling leaves the line, and nothing is taken."""
        if not self._waiting and self._take(amount):
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = amount
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # its turn came in the same moment
                self._give_back(amount)
            raise
        finally:
            if self._waiting.pop(turn, None) is not None:
                self.serve()  # the one behind may want less

    def serve(self) -> None:
        """Give the first what it waits for, and those behind, as far as it goes."""
        while self._waiting:
            turn, amount = next(iter(self._waiting.items()))
            if not turn.cancelled():
                if not self._take(amount):
                    return
                turn.set_result(None)
            del self._waiting[turn]
