"""The other end of a connection: whether it is still there, and how a handler gets rid of it."""

import asyncio
from collections.abc import Callable

from starlette.types import Scope

_IN_SCOPE = "peer"


class Peer:
    """Whoever sent the requests of one connection.

    Args:
        cut: ends the connection now, whatever of it was not taken yet.
        linger: see the method.
        is_ending: whether nothing more is sent to it, though `gone` isn't set yet.

    Attributes:
        gone: set once the connection has ended, whoever ended it.
        was_reset: whether it ended by a reset: what was written may lie unread at the other end.
    """

    def __init__(
        self,
        cut: Callable[[], None],
        linger: Callable[[], None],
        is_ending: Callable[[], bool] = lambda: False,
    ) -> None:
        self.cut = cut
        self._linger = linger
        self._is_ending = is_ending
        self.gone = asyncio.Event()
        self.was_reset = False
        self._when_lost: Callable[[], None] | None = None

    @property
    def hears(self) -> bool:
        """Whether what is written now goes out to it."""
        return not self.gone.is_set() and not self._is_ending()

    def when_lost(self, tell: Callable[[], None], *, within_seconds: float) -> None:
        """Call `tell` if the connection is reset soon: the answer just written has not been read.

        A peer that asks again, or ends the connection in order, has read it. So has one that is
        silent for so long, as far as can be known.
        """
        self._when_lost = tell
        asyncio.get_running_loop().call_later(within_seconds, self._had_it, tell)

    def asks(self) -> None:
        """The next request begins: what was answered before has been read."""
        self._when_lost = None

    def end(self, *, by_reset: bool) -> None:
        """The connection has ended."""
        tell, self._when_lost, self.was_reset = self._when_lost, None, by_reset
        self.gone.set()
        if by_reset and tell is not None:
            tell()

    def _had_it(self, tell: Callable[[], None]) -> None:
        if self._when_lost is tell:
            self._when_lost = None

    def linger(self) -> None:
        """Close the connection after the present answer, though more of the request's body comes.

        What still comes is read and dropped for a while: an end with bytes unread is a reset, which
        may reach the sender before the answer does.
        """
        self._linger()


def state_with(peer: Peer, state: dict[str, object]) -> dict[str, object]:
    """The `state` of the connection's scopes, by which `peer_of` finds its peer."""
    return {**state, _IN_SCOPE: peer}


def peer_of(scope: Scope) -> Peer | None:
    """Who sent this request; None where the server doesn't tell (an app without a socket)."""
    peer = scope.get("state", {}).get(_IN_SCOPE)
    return peer if isinstance(peer, Peer) else None
