"""Servers to test the client against: a real `rewardd serve`, and a scripted one."""

import http.server
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.server_process import ServerProcess, server_process


@contextmanager
def real_server(
    directory: Path, *flags: str, python: str = sys.executable, **environment: str
) -> Iterator[str]:
    """A `rewardd serve` process on a free port; gives its address."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("REWARDD_")}
    environment = {**inherited, "REWARDD_TORCH_THREADS": "1", **environment}
    command = ("rewardd", "serve", *flags)
    with server_process(directory, *command, environment=environment, python=python) as server:
        yield _ready(server)


@contextmanager
def modelless_server(directory: Path, **environment: str) -> Iterator[str]:
    """The same service around a scorer without models, which starts in a third of the time."""
    variables = {**os.environ, **environment}
    command = "tests.integration.fake_server"
    with server_process(directory, command, environment=variables) as server:
        yield _ready(server)


def _ready(server: ServerProcess) -> str:
    give_up = time.monotonic() + 120
    while httpx.get(f"{server.url}/health/ready").status_code != 200:
        assert time.monotonic() < give_up, f"not ready in time:\n{server.log.read_text()}"
        time.sleep(0.05)
    return server.url


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float
    client_port: int

    def json(self) -> Any:
        return json.loads(self.body)


Step = Callable[["_Handler", Seen], None]


def reply(status: int, body: Any = None, **headers: str) -> Step:
    """Answer; `body` is bytes, or a value that becomes JSON; header names' "_" become "-"."""

    def step(handler: "_Handler", _: Seen) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return step


def drop(handler: "_Handler", _: Seen) -> None:
    """Read the request and break the connection."""
    _break(handler)


def cut_short(handler: "_Handler", _: Seen) -> None:
    """Promise 1000 bytes, send ten, and break the connection."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"items": ')
    handler.wfile.flush()
    _break(handler)


def trickle(handler: "_Handler", _: Seen) -> None:
    """Send one byte now and then, so that no single read ever takes long."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    try:
        while not handler.stopped.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()
    except OSError:
        pass
    handler.close_connection = True


def hang(handler: "_Handler", _: Seen) -> None:
    """Never answer."""
    handler.stopped.wait(30)
    handler.close_connection = True


def forward(url: str, *, lose_reply: bool) -> Step:
    """Let a real server do the work; with `lose_reply` the client never hears of it."""

    def step(handler: "_Handler", seen: Seen) -> None:
        passed = {k: v for k, v in seen.headers.items() if k.lower() not in ("host", "connection")}
        answer = httpx.request(seen.method, url + seen.path, content=seen.body, headers=passed)
        if lose_reply:
            _break(handler)
        else:
            reply(answer.status_code, answer.content)(handler, seen)

    return step


def _break(handler: "_Handler") -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    @property
    def stopped(self) -> threading.Event:
        return self.server.stopped

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length)
        if self.headers.get("Transfer-Encoding"):
            raise AssertionError("bodies are sent with their length")
        seen = Seen(
            self.command,
            self.path,
            dict(self.headers),
            body,
            time.monotonic(),
            self.client_address[1],
        )
        with self.server.lock:
            number = len(self.server.seen)
            self.server.seen.append(seen)
        steps = self.server.steps
        steps[min(number, len(steps) - 1)](self, seen)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, steps: Sequence[Step]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.steps = steps
        self.seen: list[Seen] = []
        self.lock = threading.Lock()
        self.stopped = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""


@dataclass
class Scripted:
    """A running scripted server."""

    url: str
    seen: list[Seen] = field(default_factory=list)


@contextmanager
def scripted_server(*steps: Step) -> Iterator[Scripted]:
    """A server that answers the n-th request by the n-th step, and all further ones by the last."""
    server = _Server(steps)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Scripted(f"http://127.0.0.1:{server.server_port}", server.seen)
    finally:
        server.stopped.set()
        server.shutdown()
        thread.join(10)
        server.server_close()
