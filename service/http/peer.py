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

    Attributes:
        gone: set once the connection has ended, whoever ended it.
    """

    def __init__(self, cut: Callable[[], None], linger: Callable[[], None]) -> None:
        self.cut = cut
        self._linger = linger
        self.gone = asyncio.Event()

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
