"""What surrounds every request: its id, its metrics, its line in the log, and the last safety net.

Pure ASGI: no body is buffered and no task is spawned, and only `scope["path"]`'s route is ever used
(the URL is rebuilt from the Host header, which the caller writes).
"""

import math
import re
import time
import uuid
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.connections.limits import DISCARDED_BYTES
from service.http.auth import named_caller
from service.http.peer import peer_of
from service.observability.logs import where
from service.problems import internal_problem
from service.state import AppState

REQUEST_ID_HEADER = b"x-request-id"
UNMATCHED = "unmatched"

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")
_ABORT_BY_STATUS = {408: "receive_timeout", 413: "too_large"}

_log = structlog.get_logger("service.access")


class RequestContext:
    """The middleware.

    Args:
        app: what it surrounds.
        state: of the service.
    """

    def __init__(self, app: ASGIApp, state: AppState) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._state)
        with structlog.contextvars.bound_contextvars(request_id=exchange.request_id):
            self._state.num_unanswered += 1
            try:
                with self._state.metrics.in_flight.track_inprogress():
                    await self._answer(scope, exchange)
            finally:
                self._state.num_unanswered -= 1
            exchange.record()

    async def _answer(self, scope: Scope, exchange: "_Exchange") -> None:
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            exchange.aborted = True
        except Exception as exc:  # the last net: nothing internal reaches the caller
            _log.error("request_failed", error=type(exc).__name__, where=where(exc))
            if not exchange.begun:
                await internal_problem().as_response()(scope, exchange.receive, exchange.send)


class _Exchange:
    """One request and its reply as they pass."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, state: AppState) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._state = state
        self._began = time.perf_counter()
        self._body_bytes = 0
        self._body_ended = False
        self.request_id = _request_id(scope)
        self.begun = False
        self.status: int | None = None
        self.aborted = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._body_bytes += len(message.get("body", b""))
            self._body_ended = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            peer = peer_of(self._scope)
            if peer is None or peer.hears:
                self.status = message["status"]
            else:  # a reply that nobody is sent counts as none
                self.aborted = True
            headers = [*message.get("headers", ()), (REQUEST_ID_HEADER, self.request_id.encode())]
            # The caller is to connect elsewhere for its next request, or still sends what nobody
            # reads.
            if self._state.draining or self._leaves_body_unread(message["status"]):
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await self._send(message)

    def _leaves_body_unread(self, status: int) -> bool:
        """Whether too much of the body is still to come for the connection to go on."""
        if status < 400 or self._body_ended:
            return False
        return status in _ABORT_BY_STATUS or unread_bytes(self._scope) > DISCARDED_BYTES

    def record(self) -> None:
        metrics = self._state.metrics
        seconds = time.perf_counter() - self._began
        route = route_of(self._scope)
        reason = "client_disconnect" if self.aborted else _ABORT_BY_STATUS.get(self.status or 0)
        if reason is not None:
            metrics.aborted.labels(reason).inc()
        if self._body_bytes:
            metrics.body_bytes.observe(self._body_bytes)
        if self.status is not None:
            metrics.answered(route, self._scope["method"], self.status, seconds)
        log = _log.debug if route.startswith(("/health", "/metrics")) else _log.info
        log(
            "request",
            method=self._scope["method"][:16],
            route=route,
            status=self.status,
            seconds=round(seconds, 6),
            aborted=self.aborted,
            **named_caller(self._scope),
        )


def unread_bytes(scope: Scope) -> float:
    """What a request's headers announce as its body; infinite where they don't say."""
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return math.inf
        if name == b"content-length":
            return float(value[:20])  # the parser has found it to be a number
    return 0.0


def route_of(scope: Scope) -> str:
    """The pattern of the route that answered, never the path that was asked for."""
    route: Any = scope.get("route")
    path = getattr(route, "path", None)
    return path if isinstance(path, str) else UNMATCHED


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == REQUEST_ID_HEADER and _REQUEST_ID.match(value):
            return str(value, "ascii")
    return uuid.uuid4().hex
