"""How long the caller waits, and whether it is still there."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from service.http.peer import peer_of
from service.problems import Problem

TIMEOUT_HEADER = "x-request-timeout-ms"
MAX_TIMEOUT_MS = 24 * 60 * 60 * 1000

T = TypeVar("T")


def deadline_of(request: Request, clock: Callable[[], float]) -> float | None:
    """When the caller's X-Request-Timeout-Ms runs out, on `clock`; None without the header.

    Raises:
        Problem: 400, the header is not a whole number of milliseconds from 1 to a day.
    """
    given = request.headers.get(TIMEOUT_HEADER)
    if given is None:
        return None
    value = int(given) if given.isascii() and given.isdigit() and len(given) <= 12 else 0
    if not 1 <= value <= MAX_TIMEOUT_MS:
        raise Problem(
            400,
            "invalid_timeout",
            f"X-Request-Timeout-Ms must be a whole number from 1 to {MAX_TIMEOUT_MS}.",
        )
    return clock() + value / 1000.0


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Run `work`, and cancel it if the caller goes away first.

    FastAPI lets a handler run on after a disconnect; the queue's places would stay taken. The
    request's body must have been read.

    Raises:
        ClientDisconnect: the caller is gone; `work` has been cancelled and has ended.
    """
    task = asyncio.ensure_future(work)
    peer = peer_of(request.scope)
    # A second request of the connection would keep `receive` from telling of the first one's end.
    waiting = _disconnected(request) if peer is None else peer.gone.wait()
    gone: asyncio.Future[Any] = asyncio.ensure_future(waiting)
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for pending in (task, gone):
            pending.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return
