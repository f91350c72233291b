"""Replies of requests without a key, which tell the store whether they left."""

import contextlib
from collections.abc import Callable

from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.errors import StateUnavailable
from service.http.peer import peer_of
from service.streams.store import StateStore
from service.streams.unanswered_table import Unanswered

_UNREAD_SECONDS = 1.0
"""A reset that comes later is a pool's or a proxy's way to end what nobody uses."""


class Receipt(Response):
    """A reply that tells the store whether it left us.

    It did not where the caller is known to be gone before it is written, where writing fails, or
    where the connection is reset within a second of it: then it lay unread.

    Args:
        reply: what is sent.
        store: told of it.
        unanswered: what the request counted.
    """

    def __init__(self, reply: Response, store: StateStore, unanswered: Unanswered) -> None:
        super().__init__(reply.body, reply.status_code, reply.headers)
        self._store = store
        self._unanswered = unanswered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        left = False
        peer = peer_of(scope)
        try:
            if await Request(scope, receive).is_disconnected():
                raise ClientDisconnect
            await super().__call__(scope, receive, send)
            left = peer is None or not peer.was_reset
            if peer is not None and left:
                peer.when_lost(self._lost, within_seconds=_UNREAD_SECONDS)
        finally:
            with contextlib.suppress(StateUnavailable):
                await self._store.settle(self._unanswered, answered=left)

    def _lost(self) -> None:
        self._store.lose(self._unanswered)


async def receipted(
    write: Callable[[], Response], store: StateStore, unanswered: Unanswered | None
) -> Response:
    """Write a reply that accounts for what its request counted.

    Args:
        write: makes the reply; where it can't, an equal request may be its retry.
        store: told of it.
        unanswered: what the request counted; None: nothing, or it has a key.
    """
    if unanswered is None:
        return write()
    try:
        return Receipt(write(), store, unanswered)
    except BaseException:
        with contextlib.suppress(StateUnavailable):
            await store.settle(unanswered, answered=False)
        raise
