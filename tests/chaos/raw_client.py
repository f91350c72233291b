"""A client that sends bytes as they are, slowly or without end, and says how it was closed."""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

PIECE_BYTES = 64 * 1024

ITEM = json.dumps({"prompt": "p", "response": "r"}).encode()


def post(path: str, *headers: str) -> bytes:
    """The head of a POST with JSON."""
    lines = (f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *headers)
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


@dataclass(frozen=True)
class Ended:
    """How a connection ended.

    Attributes:
        status: of the last reply; 0 where there was none.
        seconds: from the connection's start to its end.
        sent: bytes that the kernel took before the end.
    """

    status: int
    seconds: float
    sent: int


class RawClient:
    """One connection.

    Args:
        reader: of it.
        writer: of it.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer
        self._began = time.monotonic()
        self._sent = 0

    async def send(self, content: bytes) -> None:
        self._writer.write(content)
        await self._writer.drain()
        self._sent += len(content)

    def pause_reading(self) -> None:
        """Take nothing more: what comes fills this side's buffers, and then the other's."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's has it

    async def read_reply(self) -> tuple[int, bytes]:
        """One reply with a Content-Length: its status and its body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        )
        return int(head.split()[1]), await self.reader.readexactly(length)

    async def until_closed(
        self, content: Iterable[bytes] = (), *, pause_seconds: float = 0.0
    ) -> Ended:
        """Send piece after piece until the other side closes; what it replies is read meanwhile."""
        reading = asyncio.create_task(self._read_all())
        with contextlib.suppress(ConnectionError):
            for piece in content:
                if reading.done():
                    break
                await self.send(piece)
                if pause_seconds:
                    await asyncio.wait({reading}, timeout=pause_seconds)
        replies = await reading
        status = int(replies.split(b" ", 2)[1]) if replies.startswith(b"HTTP/1.1 ") else 0
        return Ended(status, time.monotonic() - self._began, self._sent)

    async def _read_all(self) -> bytes:
        found = bytearray()
        with contextlib.suppress(ConnectionError):
            while piece := await self.reader.read(PIECE_BYTES):
                found += piece[: PIECE_BYTES - len(found)]
        return bytes(found)

    def abort(self) -> None:
        """Give up what is not sent, which closing would wait for."""
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


@contextlib.asynccontextmanager
async def raw_client(port: int) -> AsyncIterator[RawClient]:
    """A connection to this machine's port, closed at the context's end."""
    client = RawClient(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield client
    finally:
        await client.close()


def pieces(begin: bytes, repeated: bytes, num_bytes: int) -> Iterable[bytes]:
    """`begin`, and then `repeated` again and again until so many bytes were sent."""
    many = repeated * max(1, PIECE_BYTES // len(repeated))
    return itertools.chain([begin], itertools.repeat(many, num_bytes // len(many)))


@contextlib.asynccontextmanager
async def raw_clients(port: int, count: int) -> AsyncIterator[list[RawClient]]:
    """So many connections at once."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(raw_client(port)) for _ in range(count)]
