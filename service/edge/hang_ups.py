"""Noticing that a peer hung up, also while nothing is read of it.

An event loop learns of a connection's end by reading. While a body arrives faster than it is used,
or a second request waits behind the first, nothing is read: the end would go unseen for as long,
and whatever the peer had asked for would be done for nobody.
"""

import asyncio
import select
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.peer import Peer, state_with

_LINGER_SECONDS = 1.0


class HangUps:
    """Watches connections that aren't read, by one epoll descriptor within the event loop's own.

    Belongs to one event loop. Where there is no epoll (macOS), an end is noticed with the next read
    or write, as without it.
    """

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._watched: dict[int, Callable[[], None]] = {}

    def watch(self, descriptor: int, hung_up: Callable[[], None]) -> None:
        """Call `hung_up` once the socket's other end sends no more; at once if it did so before."""
        if not hasattr(select, "epoll"):
            return
        if self._epoll is None:
            self._epoll = select.epoll()
            asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._tell)
        self._watched[descriptor] = hung_up
        self._epoll.register(descriptor, select.EPOLLRDHUP)  # ends by error are always told

    def forget(self, descriptor: int) -> None:
        """Watch the socket no longer; nothing happens if it wasn't."""
        if self._watched.pop(descriptor, None) is not None and self._epoll is not None:
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Watch nobody any more."""
        if self._epoll is not None:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None
        self._watched.clear()

    def _tell(self) -> None:
        if self._epoll is None:
            return
        for descriptor, _ in self._epoll.poll(0):
            hung_up = self._watched.get(descriptor)
            self.forget(descriptor)
            if hung_up is not None:
                hung_up()


class WatchedFlow(FlowControl):
    """A connection's flow control: while reading is paused, its end is watched for.

    Args:
        transport: of the connection.
        hang_ups: of the event loop.
        hung_up: called if the peer ends the connection meanwhile.
    """

    def __init__(
        self, transport: asyncio.Transport, hang_ups: HangUps, hung_up: Callable[[], None]
    ) -> None:
        super().__init__(transport)
        self._hang_ups = hang_ups
        self._hung_up = hung_up
        self._descriptor: int = transport.get_extra_info("socket").fileno()

    def pause_reading(self) -> None:
        """Read nothing until `resume_reading`."""
        if not self.read_paused and not self._transport.is_closing():
            self._hang_ups.watch(self._descriptor, self._hung_up)
        super().pause_reading()

    def resume_reading(self) -> None:
        """Read on; an end is then found by reading."""
        self.unwatch()
        super().resume_reading()

    def unwatch(self) -> None:
        """The connection has ended."""
        self._hang_ups.forget(self._descriptor)


class WatchedConnection(HttpToolsProtocol):
    """uvicorn's connection, whose requests know their peer.

    Args:
        hang_ups: of the event loop.
        given: uvicorn's own arguments.
    """

    def __init__(self, *, hang_ups: HangUps, **given: Any) -> None:
        super().__init__(**given)
        self._hang_ups = hang_ups
        self._peer: Peer
        self._lingers = False
        self.flow: WatchedFlow

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin with a connection."""
        super().connection_made(transport)
        self._peer = Peer(transport.abort, self._linger, transport.is_closing)
        self.app_state = state_with(self._peer, self.app_state)
        self.flow = WatchedFlow(transport, self._hang_ups, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever works for the peer that it is gone."""
        self.flow.unwatch()
        super().connection_lost(exc)
        self._peer.end(by_reset=exc is not None)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._peer.asks()
        super().on_message_begin()

    def on_response_complete(self) -> None:
        """Go on to the next request, or to the end."""
        super().on_response_complete()
        self.close_if_lingering()

    def close_if_lingering(self) -> None:
        """End the connection soon, where its last answer said so."""
        if self._lingers:
            self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    def shutdown(self) -> None:
        """Close if idle, else after the present answer."""
        if not self._lingers:
            super().shutdown()

    def _linger(self) -> None:
        self._lingers = True
        self.cycle.keep_alive = True  # or uvicorn would close with the answer's last byte
