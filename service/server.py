"""The process: uvicorn, its port, and a shutdown that answers whatever was accepted."""

import asyncio
import contextlib
import dataclasses
import functools
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn, cast

import structlog
import uvicorn
from fastapi import FastAPI

from rm_core.types import Scorer
from service.app import create_app, create_metrics_app, engine_watch
from service.connections.limits import SCRAPERS_PLACES, ConnectionLimits
from service.connections.table import Connections
from service.edge.drain import Connection, Drain
from service.edge.hang_ups import HangUps
from service.edge.protocol import LimitedConnection
from service.metrics_server import serving_metrics
from service.settings import Settings
from service.state import AppState
from service.swap.swapper import Loader
from service.watchdog.engine_watch import EngineWatch

# Exit codes; see docs/guides/operations.md.
_ALL_ANSWERED = 0
_NOT_STARTED_OR_CUT_OFF = 1
_INTERRUPTED = 130  # what a shell reports after Ctrl-C

_MAX_OPEN_FILES = 65_536

_log = structlog.get_logger(__name__)


def serve(
    settings: Settings,
    scorer: Scorer,
    *,
    sockets: list[socket.socket] | None = None,
    metrics_sockets: list[socket.socket] | None = None,
    watch: EngineWatch | None = None,
    loader: Loader | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: frozen settings.
        scorer: the loaded models.
        sockets: bound to the settings' address; None binds it now.
        metrics_sockets: the same for the metrics' own port, if the settings have one.
        watch: of the engine's calls, with what it has learned of their times.
        loader: of models that replace these; None: nothing replaces them.

    Returns:
        The process's exit code: 0 if every accepted request was answered, 1 if the server could
        not start or the drain timeout cut requests off, 130 if a second SIGINT did.
    """
    raise_open_files()
    watch = engine_watch(settings) if watch is None else watch
    if settings.watchdog:
        watch.watchdog.start()
    app = create_app(settings, scorer, watch=watch, loader=loader)
    server = DrainingServer(server_config(app, settings), settings, app.state.rewardd)
    server.metrics_sockets = metrics_sockets
    try:
        server.run(sockets)
    except SystemExit:  # uvicorn's way to say that it could not start
        _log.error("server_did_not_start", host=settings.host, port=settings.port)
        return _NOT_STARTED_OR_CUT_OFF
    if server.exit_code != _ALL_ANSWERED:
        # The device may be in a forward pass, which an interpreter that ends would trip over.
        leave_now(server.exit_code)
    return server.exit_code


def leave_now(code: int) -> NoReturn:
    """End the process without waiting for its threads; what they are at is of no use any more."""
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


def raise_open_files() -> None:
    """Allow as many connections as the system does: trainers open thousands at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def server_config(
    app: FastAPI, settings: Settings, *, max_connections: int | None = None
) -> uvicorn.Config:
    """How uvicorn serves the app.

    Args:
        app: the app.
        settings: frozen settings.
        max_connections: another cap than the settings'.
    """
    state: AppState = app.state.rewardd
    limits = ConnectionLimits.of(settings)
    if max_connections is not None:
        limits = dataclasses.replace(limits, connections=max_connections)
    connections = Connections(limits, state.metrics, state.connections)
    connection = functools.partial(LimitedConnection, connections=connections, hang_ups=HangUps())
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=cast("type[asyncio.Protocol]", connection),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=2048,
    )


class DrainingServer(uvicorn.Server):
    """A server that first says it is leaving, then closes the port, then waits for its requests.

    Args:
        config: uvicorn's.
        settings: delays and the port file.
        state: whose readiness falls with the first signal.

    Attributes:
        exit_code: the process's, once the server has ended.
    """

    def __init__(self, config: uvicorn.Config, settings: Settings, state: AppState) -> None:
        super().__init__(config)
        self._settings = settings
        self._state = state
        self._at_once = asyncio.Event()
        self.exit_code = _ALL_ANSWERED
        self.metrics_sockets: list[socket.socket] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while serving; uvicorn's own way ends the process by the signal."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handled = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self.handle_exit) for number in handled}
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._handle_hangup)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Begin to drain; a second Ctrl-C ends at once, a second SIGTERM changes nothing."""
        if not self._state.draining:
            self._state.draining = True
            self._loop.call_soon_threadsafe(self._leave_soon)
        elif sig == signal.SIGINT:
            self.exit_code = _INTERRUPTED
            self._loop.call_soon_threadsafe(self._leave_at_once)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal, and until what was accepted is answered."""
        self._loop = asyncio.get_running_loop()  # which signals need from the first moment on
        async with self._metrics_beside():
            await super().serve(sockets)

    def _metrics_beside(self) -> contextlib.AbstractAsyncContextManager[None]:
        """/metrics on its own port, if the settings have one."""
        settings = self._settings
        if settings.metrics_port is None:
            return contextlib.nullcontext()
        address = (settings.metrics_host or settings.host, settings.metrics_port)
        return serving_metrics(
            server_config(
                create_metrics_app(self._state), settings, max_connections=SCRAPERS_PLACES
            ),
            self.metrics_sockets or [socket.create_server(address)],
        )

    def _handle_hangup(self, *_: object) -> None:
        """Have files read again that may have changed."""
        for call in self._state.on_hangup:
            self._loop.call_soon_threadsafe(call)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Bind, then tell the port."""
        try:
            await super().startup(sockets)
        except OSError as error:  # another server took the port while the models were loaded
            _log.error("port_taken", reason=str(error))
            await self.lifespan.shutdown()
            raise SystemExit(1) from error
        port = self.servers[0].sockets[0].getsockname()[1]
        url = address_to_try(self._settings.host, port)
        _log.info(
            "listening",
            host=self._settings.host,
            port=port,
            url=url,
            docs=f"{url}/docs",
            try_it=command_to_try(url, with_key=self._state.keys.are_required),
        )
        if self._settings.port_file is not None:
            write_atomically(self._settings.port_file, f"{port}\n")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port and wait for what was accepted, as long as the settings allow."""
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        drain = Drain(
            cast("set[Connection]", self.server_state.connections),
            self.server_state.tasks,
            self._state,
            self._settings.drain_timeout_seconds,
        )
        drained = await drain.run(self._at_once)
        if not drained and self.exit_code == _ALL_ANSWERED:
            self.exit_code = _NOT_STARTED_OR_CUT_OFF
        self._state.device_abandoned = self.exit_code != _ALL_ANSWERED
        await self.lifespan.shutdown()
        _log.info("stopped", drained=drained)

    def _leave_soon(self) -> None:
        _log.info("draining", seconds=self._settings.drain_timeout_seconds)
        self._loop.call_later(self._settings.drain_delay_seconds, self._leave)

    def _leave(self) -> None:
        self.should_exit = True

    def _leave_at_once(self) -> None:
        _log.warning("interrupted")
        self._at_once.set()
        self.should_exit = True


def address_to_try(host: str, port: int) -> str:
    """Where a person on this machine reaches the server."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - told, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def command_to_try(url: str, *, with_key: bool) -> str:
    """A command that scores one response.

    Args:
        url: of the server.
        with_key: whether it asks for a key; which one, the command leaves to the reader.
    """
    key = ' -H "Authorization: Bearer $KEY"' if with_key else ""
    item = '{"prompt": "What is 6 times 7?", "response": "42."}'
    return f"curl -s {url}/score -H 'Content-Type: application/json'{key} -d '{item}'"


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that no reader ever sees half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(path)
