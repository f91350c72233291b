"""A server of this process on a real port, and callers that speak plain TCP to it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rm_core.types import Scorer
from service.app import create_app
from service.server import DrainingServer, server_config
from service.settings import Settings
from service.state import AppState
from tests.service.rig import until


@dataclass(frozen=True)
class Reply:
    """What came back, the headers' names in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


@dataclass(frozen=True)
class Listening:
    """A server that listens."""

    server: DrainingServer
    state: AppState
    port: int

    def value(self, name: str, **labels: str) -> float:
        return self.state.metrics.registry.get_sample_value(name, labels) or 0.0

    async def until_waiting(self, count: int) -> None:
        await until(lambda: self.value("rm_waiting_requests") == count)

    async def send(
        self, path: str, body: Any, **headers: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A request on a connection of its own, not waited for."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        content = json.dumps(body).encode()
        given = {
            "Host": "x",
            "Connection": "close",
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        writer.write(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content)
        await writer.drain()
        return reader, writer

    async def post(self, path: str, body: Any, **headers: str) -> Reply:
        """A request on a connection of its own, and its reply."""
        reader, writer = await self.send(path, body, **headers)
        head, _, content = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        status, *lines = head.decode().split("\r\n")
        named = dict(line.split(": ", 1) for line in lines)
        return Reply(int(status.split()[1]), {k.lower(): v for k, v in named.items()}, content)


@contextlib.asynccontextmanager
async def listening(state_dir: Path, scorer: Scorer, **values: Any) -> AsyncIterator[Listening]:
    settings = Settings(**{"state_dir": state_dir, "max_wait_ms": 0.0, "port": 0, **values})
    app = create_app(settings, scorer)
    server = DrainingServer(server_config(app, settings), settings, app.state.rewardd)
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Listening(server, app.state.rewardd, port)
    finally:
        server.should_exit = True
        await serving
