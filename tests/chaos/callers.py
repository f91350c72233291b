"""Callers that speak plain TCP: who hang up, who pause, who send half of something."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

NDJSON = "application/x-ndjson"


@dataclass(frozen=True)
class Caller:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, content: bytes) -> None:
        self.writer.write(content)
        await self.writer.drain()

    async def send_chunk(self, content: bytes) -> None:
        """Part of a chunked body."""
        await self.send(b"%x\r\n%b\r\n" % (len(content), content))

    async def begin(self, path: str, **headers: str) -> None:
        """The head of a request whose body comes in chunks."""
        await self.send(head(path, {"Transfer-Encoding": "chunked", **headers}))

    async def post(self, path: str, body: Any, **headers: str) -> None:
        """A whole request; its reply is not waited for."""
        content = json.dumps(body).encode()
        given = {"Content-Type": "application/json", **headers}
        await self.send(head(path, {**given, "Content-Length": str(len(content))}) + content)

    async def chunks(self) -> AsyncIterator[bytes]:
        """What a chunked reply holds, to its end."""
        await self.reader.readuntil(b"\r\n\r\n")
        while size := int(await self.reader.readline(), 16):
            yield await self.reader.readexactly(size)
            await self.reader.readline()

    async def lines(self) -> AsyncIterator[dict[str, Any]]:
        """The lines of a chunked reply, one a chunk, to its end."""
        async for chunk in self.chunks():
            yield json.loads(chunk)

    def hang_up(self, *, reset: bool = False) -> None:
        """Be gone: in order, or by a reset."""
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )
        self.writer.transport.abort()


def head(path: str, headers: Mapping[str, str]) -> bytes:
    """The head of a POST; underscores in names stand for dashes."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


async def connect(port: int, *, receive_bytes: int | None = None) -> Caller:
    """A connection of one's own, its kernel's buffer as small as said."""
    connection = socket.socket()
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    return Caller(*await asyncio.open_connection(sock=connection, limit=2**20))


@asynccontextmanager
async def calling(port: int, *, receive_bytes: int | None = None) -> AsyncIterator[Caller]:
    """A connection that ends with the context."""
    caller = await connect(port, receive_bytes=receive_bytes)
    try:
        yield caller
    finally:
        caller.writer.close()
        with contextlib.suppress(OSError):
            await caller.writer.wait_closed()
