"""A server in a thread that answers as it is told: slowly, wrongly, in chunks, or not at all."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Answer = Callable[[str, bytes], Awaitable[bytes]]
"""From a path and a body to the bytes of a whole reply; empty bytes hang up."""


def reply(body: bytes, status: int = 200, *, chunked: bool = False, close: bool = False) -> bytes:
    head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\n"
    head += "Connection: close\r\n" if close else ""
    if not chunked:
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    pieces = [body[start : start + 7] for start in range(0, len(body), 7)]
    chunks = b"".join(f"{len(p):x};x=y\r\n".encode() + p + b"\r\n" for p in pieces)
    return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n"


@dataclass(slots=True)
class Scripted:
    """The running server: where it listens, and what it saw."""

    port: int = 0
    connections: int = 0
    bodies: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def texts(self) -> list[str]:
        return [text for _, body in self.bodies if body for text in json.loads(body)["texts"]]


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(function)


@contextmanager
def scripted_server(answer: Answer) -> Iterator[Scripted]:
    """Run a server with that behaviour on a free port."""
    state = Scripted()
    started = threading.Event()
    stops: list[Callable[[], None]] = []

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                path = head.split(" ")[1]
                lengths = [
                    int(line.partition(":")[2])
                    for line in head.split("\r\n")
                    if line.lower().startswith("content-length")
                ]
                body = await reader.readexactly(sum(lengths))
                state.bodies.append((path, body))
                found = await answer(path, body)
                writer.write(found)
                if not found or b"Connection: close" in found:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
        state.port = server.sockets[0].getsockname()[1]
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        stops.append(lambda: _call(loop, stop.set))
        started.set()
        await stop.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield state
    finally:
        stops[0]()
        thread.join(10)
