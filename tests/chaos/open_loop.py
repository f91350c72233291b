"""Requests that come when they are due, whatever became of those before; over bare sockets.

A client's library costs more a request than the server that refuses it: on one machine it is then
the library that is measured. Here a request is written as bytes made beforehand, on a connection
that is free or else a new one, and its time counts from when it was due.
"""

import asyncio
import itertools
import math
import random
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

_SAME_PACK_SECONDS = 0.1

ABORTED = 0
"""In the place of a status: the client left before a reply came."""


@dataclass
class Tally:
    """What was sent, and what became of it.

    Attributes:
        offered: how many requests were due.
        outcomes: how many by status, `ABORTED` for those that got none.
        seconds: how long each took, by status, counted from when it was due.
        retry_after: of the refusals that told when to come again, how long.
        late: how many seconds after it was due each was sent; the client's own share.
    """

    offered: int = 0
    outcomes: Counter[int] = field(default_factory=Counter)
    seconds: dict[int, list[float]] = field(default_factory=dict)
    retry_after: list[int] = field(default_factory=list)
    late: list[float] = field(default_factory=list)

    def count(self, status: int, seconds: float) -> None:
        """Note one outcome."""
        self.outcomes[status] += 1
        self.seconds.setdefault(status, []).append(seconds)

    def percentile(self, status: int, share: float) -> float:
        """So long at most took that share of a status' replies."""
        return percentile(self.seconds[status], share)


def percentile(values: Iterable[float], share: float) -> float:
    """The least of `values` that no more than the rest of them exceed."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1]


class _Connection(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self, free: list["_Connection"]) -> None:
        self._free = free
        self._received = b""
        self._transport: asyncio.Transport
        self.reply: asyncio.Future[tuple[int, bytes]] | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        self.reply = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self.reply

    def leave(self) -> None:
        """Send nothing more; what the server had answered by then still arrives."""
        self._transport.write_eof()

    def close(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end or len(rest) < _content_length(head):
            return
        self._received = b""
        reply, self.reply = self.reply, None
        if not self._transport.is_closing() and b"connection: close" not in head.lower():
            self._free.append(self)
        if reply is not None and not reply.done():
            reply.set_result((int(head[9:12]), head))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self in self._free:
            self._free.remove(self)
        if self.reply is not None and not self.reply.done():
            self.reply.set_result((ABORTED, b""))


def _header(head: bytes, name: bytes) -> bytes | None:
    for line in head.lower().split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key == name:
            return value.strip()
    return None


def _content_length(head: bytes) -> int:
    return int(_header(head, b"content-length") or 0)


class OpenLoop:
    """A client of one server.

    Args:
        port: of the server, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[_Connection] = []
        self._all: list[_Connection] = []
        self._numbers = itertools.count()

    async def offer(
        self,
        rate: float,
        seconds: float,
        chance: random.Random,
        *,
        leaves_after: Callable[[], float] = lambda: math.inf,
    ) -> Tally:
        """Single items for /score, by chance so many a second; back when all have an outcome.

        Args:
            rate: requests a second, on average.
            seconds: for how long.
            chance: of when they come.
            leaves_after: how long the next request's caller waits.
        """
        loop, tally, sent = asyncio.get_running_loop(), Tally(), []
        begin = due = loop.time()
        while due < begin + seconds:
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            request = _request(next(self._numbers))
            tally.offered += 1
            tally.late.append(loop.time() - due)
            sent.append(asyncio.create_task(self._one(request, due, leaves_after(), tally)))
            due += chance.expovariate(rate)
        await asyncio.gather(*sent)
        return tally

    async def _one(self, request: bytes, due: float, leaves_after: float, tally: Tally) -> None:
        loop = asyncio.get_running_loop()
        while self._free and self._free[-1].lost:
            self._free.pop()
        connection = self._free.pop() if self._free else await self._connect(self._free)
        reply = connection.send(request)
        leaving = None
        if leaves_after < math.inf:
            leaving = loop.call_later(leaves_after, connection.leave)
        status, head = await reply
        if leaving is not None:
            leaving.cancel()
        tally.count(status, loop.time() - due)
        retry_after = _header(head, b"retry-after")
        if retry_after is not None:
            tally.retry_after.append(int(retry_after))

    async def _connect(self, free: list[_Connection]) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: _Connection(free), "127.0.0.1", self._port, family=socket.AF_INET
        )
        self._all.append(connection)
        return connection

    async def saturate(self, callers: int, seconds: float) -> tuple[float, Tally]:
        """So many callers that ask again as soon as they are answered.

        Returns:
            Answers a second between the first and the last of them, and what was sent.
        """
        loop, tally, answered = asyncio.get_running_loop(), Tally(), []
        end = loop.time() + seconds

        async def ask() -> None:
            while loop.time() < end:
                tally.offered += 1
                request = _request(next(self._numbers))
                await self._one(request, loop.time(), math.inf, tally)
                answered.append(loop.time())

        await asyncio.gather(*(ask() for _ in range(callers)))
        assert set(tally.outcomes) == {200}, tally.outcomes
        later = sum(at > answered[0] + _SAME_PACK_SECONDS for at in answered)
        return later / (answered[-1] - answered[0]), tally

    async def look(self, path: str, seconds: float, *, every: float = 0.1) -> Tally:
        """GET an open route again and again, on a new connection each time."""
        loop, tally = asyncio.get_running_loop(), Tally()
        end = loop.time() + seconds
        while loop.time() < end:
            began = loop.time()
            connection = await self._connect([])  # no request of the flood gets it
            get = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            status, _ = await connection.send(get.encode())
            tally.offered += 1
            tally.count(status, loop.time() - began)
            connection.close()
            await asyncio.sleep(every)
        return tally

    def close(self) -> None:
        """Drop every connection."""
        for connection in self._all:
            if not connection.lost:
                connection.close()


def _request(number: int) -> bytes:
    """One item, like no other: nothing is answered from a cache."""
    body = b'{"prompt":"p%d","response":"r"}' % number
    return (
        b"POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )
