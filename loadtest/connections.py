"""A light HTTP/1.1 sender on bare asyncio: keep-alive, no redirects, no retries, no pool limit.

A general client spends a millisecond or more of processor time on each request, on the machine
that is being measured. This one writes a request that was built beforehand and reads the reply.
"""

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

from loadtest.errors import LoadTestError

MAX_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered."""

    status: int
    body: bytes


class ConnectionFailed(Exception):
    """The connection broke before the whole reply was there."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a server listens."""

    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Origin":
        """The origin of an http URL.

        Raises:
            LoadTestError: not an http URL with a host.
        """
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme != "http" or not parts.hostname:
            raise LoadTestError(f"{url} is not a plain http:// URL; put TLS in front elsewhere")
        return cls(parts.hostname, parts.port or 80)


def request_bytes(
    origin: Origin, path: str, body: bytes | None, *, headers: dict[str, str] | None = None
) -> bytes:
    """A whole request: POST of JSON with a body, GET without one."""
    lines = [
        f"{'GET' if body is None else 'POST'} {path} HTTP/1.1",
        f"Host: {origin.host}:{origin.port}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


class _Connection(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiting: asyncio.Future[Reply] | None = None
        self._eof = False
        self.is_reusable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._try_finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_reusable = False
        self._eof = True
        self._try_finish()
        if self._waiting is not None and not self._waiting.done():
            why = "the server closed the connection" if exc is None else type(exc).__name__
            self._waiting.set_exception(ConnectionFailed(why))

    def send(self, request: bytes) -> "asyncio.Future[Reply]":
        if self._transport is None or not self.is_reusable:
            raise ConnectionFailed("the connection is closed")
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._waiting

    def close(self) -> None:
        self.is_reusable = False
        if self._transport is not None:
            self._transport.abort()

    def _try_finish(self) -> None:
        if self._waiting is None or self._waiting.done():
            return
        try:
            reply = self._parse()
        except (ValueError, IndexError):
            self.is_reusable = False
            self._waiting.set_exception(ConnectionFailed("the reply is not HTTP/1.1"))
            return
        if reply is not None:
            self._waiting.set_result(reply)

    def _parse(self) -> Reply | None:
        """The reply, once it is whole; the buffer then holds nothing of it."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise ValueError("endless head")
            return None
        lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ", 2)[1])
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines[1:])
        }
        if headers.get("connection", "").lower() == "close":
            self.is_reusable = False
        start = end + 4
        if "chunked" in headers.get("transfer-encoding", "").lower():
            found = _dechunk(self._buffer, start)
        elif "content-length" in headers:
            stop = start + int(headers["content-length"])
            found = (bytes(self._buffer[start:stop]), stop) if len(self._buffer) >= stop else None
        elif self._eof:
            found = bytes(self._buffer[start:]), len(self._buffer)
        else:
            found = None
        if found is None:
            return None
        body, consumed = found
        del self._buffer[:consumed]
        return Reply(status, body)


def _dechunk(buffer: bytearray, start: int) -> tuple[bytes, int] | None:
    """A chunked body and where it ends; None while it is not whole."""
    parts: list[bytes] = []
    while True:
        line_end = buffer.find(b"\r\n", start)
        if line_end < 0:
            return None
        size = int(bytes(buffer[start:line_end]).split(b";")[0], 16)
        start = line_end + 2
        if len(buffer) < start + size + 2:
            return None
        parts.append(bytes(buffer[start : start + size]))
        start += size + 2
        if size == 0:
            return b"".join(parts), start


class Connections:
    """Keep-alive connections to one origin; a new one where none is idle.

    Args:
        origin: the server.
        timeout_seconds: from sending to the whole reply.
    """

    def __init__(self, origin: Origin, *, timeout_seconds: float = 600.0) -> None:
        self.origin = origin
        self._timeout_seconds = timeout_seconds
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()

    async def open(self, count: int) -> None:
        """Open connections beforehand, so that the first requests don't pay for it."""
        missing = count - len(self._idle)
        opened = await asyncio.gather(*(self._connect() for _ in range(missing)))
        self._idle += opened

    async def exchange(self, request: bytes) -> Reply:
        """Send a request and wait for its reply.

        Raises:
            ConnectionFailed: refused, broken or too slow.
        """
        connection = await self._take()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                reply = await connection.send(request)
        except TimeoutError as exc:
            connection.close()
            raise ConnectionFailed(f"no reply in {self._timeout_seconds:.0f} s") from exc
        except BaseException:
            connection.close()
            raise
        if connection.is_reusable:
            self._idle.append(connection)
        else:
            connection.close()
            self._all.discard(connection)
        return reply

    def close(self) -> None:
        """Close every connection."""
        for connection in self._all:
            connection.close()
        self._all.clear()
        self._idle.clear()

    async def _take(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable:
                return connection
            self._all.discard(connection)
        return await self._connect()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                _Connection, self.origin.host, self.origin.port
            )
        except OSError as exc:
            raise ConnectionFailed(f"can't connect: {type(exc).__name__}") from exc
        self._all.add(connection)
        return connection
