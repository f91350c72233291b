"""uvicorn's protocol over llhttp, with bounds on all that a client can make it hold.

The parser itself bounds nothing: it joins a header's pieces as they come, however long, keeps
trailers, and parses pipelined requests as far as the bytes go. So it is fed piece by piece: up to
the end of a request's headers, then its body, and of the next request nothing before the reply.
"""

import asyncio
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from service.connections import refusals
from service.connections.deadlines import Phase
from service.connections.limits import DISCARDED_BYTES
from service.connections.refusals import Refusal
from service.connections.table import Connections
from service.edge.hang_ups import WatchedConnection
from service.edge.transport import LingeringTransport
from service.edge.upgrades import has_body, parser_from_body_on

MAX_HEADER_FIELDS = 100
MAX_SMALL_CHUNKS = 65_536
"""Chunks of any size that a body may have; beyond them its chunks must hold 64 bytes on average."""

_LINGERING_BYTES = 256 * 1024 * 1024
"""The same of a connection that ends, so that a client that sends before it reads learns why."""

_END_OF_HEADERS = b"\r\n\r\n"
_CHUNKED_PIECE_BYTES = 4096
_PLAIN_CHUNK_BYTES = 12  # a size of eight digits and two ends of lines
_LEAST_CHUNK_BYTES = 64


class _Refused(Exception):
    """Ends the parser's work; the refusal is the protocol's."""


class LimitedConnection(WatchedConnection):
    """One connection.

    Args:
        connections: the table of all of them, with the limits.
        given: what `WatchedConnection` is given.
    """

    def __init__(self, *, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self.phase: Phase | None = None
        self._table = connections
        self._limits = connections.limits
        self._socket: LingeringTransport
        self._reserved = False
        self._lost = False
        self._reading = True  # the application wants more of the body
        self._throws_away = False  # nothing that arrives is parsed any more
        self._refusal: Refusal | None = None
        self._held = b""  # the next requests' bytes, which came before the reply to this one
        self._tail = b""  # the last bytes of headers whose end has not come
        self._declared: int | None = None  # the body's Content-Length
        self._begin_headers()

    # What the loop calls.

    def connection_made(  # type: ignore[override]  # as uvicorn has it
        self, transport: asyncio.Transport
    ) -> None:
        """Take the connection in."""
        self._socket = LingeringTransport(transport, self._finish, self._wants_more)
        super().connection_made(cast("asyncio.Transport", self._socket))
        if not self._table.admit(self):
            self._reserved = True
            self.app = self._table.health_alone(self.app)
        self._table.deadlines.enter(self, Phase.HEADERS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._lost = True
        super().connection_lost(exc)
        self._table.forget(self)

    def data_received(self, data: bytes) -> None:
        """Parse what came, as far as it may be."""
        if self._throws_away:
            self._throw_away(len(data))
            return
        if self._held:
            data, self._held = self._held + data, b""
        self._feed(data)
        self._settle()

    def pause_writing(self) -> None:
        """Note that the peer takes nothing more."""
        super().pause_writing()
        self._table.writing_paused(self)

    def resume_writing(self) -> None:
        """Note that it does again."""
        super().resume_writing()
        self._table.writing_resumed(self)

    # What the table calls.

    def overdue(self, phase: Phase) -> None:
        """The phase's time is over."""
        self._table.closed("writing" if phase is Phase.CLOSING else phase.value)
        if phase is Phase.HEADERS and self._begun:
            self._refuse(refusals.headers_timeout(self._limits.header_seconds))
        elif phase is Phase.BODY:
            self._refuse(refusals.body_stalled(self._limits.body_seconds))
        elif phase is Phase.DISCARD:
            self._close_now()
        elif phase is Phase.CLOSING:
            self.cut()
        else:
            self.transport.close()

    def give_way(self) -> None:
        """Close: another connection needs the place."""
        self.transport.close()

    def unread_bytes(self) -> int:
        """What was written and not yet taken by the peer's side."""
        return self._socket.unread_bytes()

    def cut(self) -> None:
        """Drop the connection with what was written."""
        self._throws_away = True
        self._table.deadlines.enter(self, None)
        self._socket.abort()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._begin_headers()
        self._begun = True

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        if len(self.url) + len(url) > self._limits.url_bytes:
            self._refusal = refusals.url_too_long(self._limits.url_bytes)
            raise _Refused
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; or a trailer, which is none of the request's headers (RFC 9110, 6.5.1)."""
        if not self._in_headers:
            return
        if len(self.headers) == MAX_HEADER_FIELDS:
            self._refusal = self._headers_too_large()
            raise _Refused
        if len(name) == 14 and name.lower() == b"content-length":
            self._declared = int(value)  # the parser has found it to be a number
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request can be answered."""
        super().on_headers_complete()
        self._in_headers = False  # after what may refuse the headers, which a reply is owed for
        if self._reserved:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body_bytes += len(body)
        self._pieces += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there in full."""
        if self._is_offered_another_protocol():
            return
        self._ended = True
        super().on_message_complete()

    # What uvicorn calls.

    def _unsupported_upgrade_warning(self) -> None:
        """Read the body that follows; without one the parser goes on by itself."""
        if self._is_offered_another_protocol():
            try:
                self.parser = parser_from_body_on(self, self.headers)
            except httptools.HttpParserError:
                self._refuse(refusals.malformed())

    def on_response_complete(self) -> None:
        """The reply is written: go on with what is next on this connection."""
        self.server_state.total_requests += 1
        self.close_if_lingering()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._held:
            data, self._held = self._held, b""
            self._feed(data)
        self._settle()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (we have our own)
        """Refuse what the parser stopped at."""
        self._refuse(self._refusal or refusals.malformed())

    # Feeding the parser.

    def _feed(self, data: bytes) -> None:
        position = 0
        while position < len(data):
            if self._throws_away or self._lost:
                return
            if self._ended:
                if self._is_answering():
                    # The next request waits for this one's reply, unparsed.
                    self._held = data[position:]
                    self.flow.pause_reading()
                    return
                self._begin_headers()
            stop = self._end_of_piece(data, position)
            if stop == position:
                self._refuse(self._headers_too_large())
                return
            in_headers, in_body = self._in_headers, self._in_body()
            whole = position == 0 and stop == len(data)
            super().data_received(data if whole else cast("bytes", memoryview(data)[position:stop]))
            if in_headers and self._in_headers:
                self._header_bytes += stop - position
                self._tail = (self._tail + data[max(position, stop - 3) : stop])[-3:]
            elif in_body and self._in_body():
                self._count_body(stop - position)
            position = stop

    def _end_of_piece(self, data: bytes, position: int) -> int:
        """How far the parser may read: to the headers' end, the body's, or a limit."""
        if self._in_headers:
            allowed = position + self._limits.header_bytes - self._header_bytes
            if position == 0 and self._tail:  # the end may have begun with what came before
                found = (self._tail + data).find(_END_OF_HEADERS) - len(self._tail)
            else:
                found = data.find(_END_OF_HEADERS, position)
            end = found + len(_END_OF_HEADERS)
            return min(end if end > position else len(data), allowed)
        left = _CHUNKED_PIECE_BYTES
        if self._declared is not None:
            left = max(1, self._declared - self._body_bytes)
        return min(len(data), position + left)

    def _count_body(self, num_bytes: int) -> None:
        """Note what came of a body that goes on, and whether it is too much for what it holds."""
        if self._throws_away:
            return
        if not self._is_answering():
            self._throw_away(num_bytes)
        elif self._declared is None:
            self._framed_bytes += num_bytes
            plain = self._body_bytes + _PLAIN_CHUNK_BYTES * self._pieces
            if self._framed_bytes - plain > self._limits.header_bytes:
                self._refuse(refusals.framing_too_large(self._limits.header_bytes))
            elif self._pieces > MAX_SMALL_CHUNKS + self._body_bytes // _LEAST_CHUNK_BYTES:
                self._refuse(refusals.chunks_too_small())

    def _begin_headers(self) -> None:
        self._in_headers = True
        self._begun = False
        self._ended = False
        self._discarded = 0
        self._header_bytes = 0
        self._tail = b""
        self._declared = None
        self._body_bytes = 0
        self._pieces = 0
        self._framed_bytes = 0

    def _headers_too_large(self) -> Refusal:
        return refusals.headers_too_large(self._limits.header_bytes, MAX_HEADER_FIELDS)

    # Where the connection stands.

    def _is_offered_another_protocol(self) -> bool:
        """Whether the parser stopped before a body, as if that were of another protocol."""
        return bool(self.parser.should_upgrade()) and has_body(self.headers)

    def _latest(self) -> RequestResponseCycle | None:
        """The latest request; uvicorn's own type leaves out that there may be none."""
        return self.cycle

    def _is_answering(self) -> bool:
        latest = self._latest()
        return bool(self.pipeline) or (latest is not None and not latest.response_complete)

    def _in_body(self) -> bool:
        return not self._in_headers and not self._ended

    def _wants_more(self, wanted: bool) -> None:
        self._reading = wanted
        self._settle()

    def _settle(self) -> None:
        """Enter the phase that follows from what was read and answered."""
        if self._throws_away or self._lost or self.transport.is_closing():
            return
        phase: Phase | None = None
        if self._in_body():
            if not self._is_answering():
                phase = Phase.DISCARD
            elif self._reading:
                phase = Phase.BODY
        elif not self._is_answering():
            owed = self._latest() is None or (self._in_headers and self._begun)
            phase = Phase.HEADERS if owed else Phase.IDLE
        if phase is not self.phase or phase is Phase.BODY:
            self._table.deadlines.enter(self, phase)

    # The end.

    def _refuse(self, refusal: Refusal) -> None:
        """Answer in the application's stead, where nothing has been answered yet, and close."""
        if self.transport.is_closing():
            return
        self._throws_away = True
        if not self._is_answering():
            if not self._in_body():  # else its reply has been written
                self._answer(refusal)
        elif self._in_headers or self.pipeline:
            # Of a request behind others: theirs are answered, and then the connection ends.
            for cycle in (self.cycle, *(cycle for cycle, _ in self.pipeline)):
                cycle.keep_alive = False
            return
        else:
            if not self.cycle.response_started:
                self._answer(refusal)
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _answer(self, refusal: Refusal) -> None:
        self._socket.write(refusal.as_bytes())
        self._table.refused(refusal)

    def _finish(self) -> None:
        """Close, and first let the peer read what was written to it."""
        if self._lost:
            self._socket.close_now()
        elif self._throws_away or self._in_body():
            self._throws_away = True
            self._socket.end_writing()
            self._table.deadlines.enter(self, Phase.DISCARD)
        else:
            self._close_now()

    def _close_now(self) -> None:
        self._throws_away = True
        self._table.deadlines.enter(self, Phase.CLOSING)
        self._socket.close_now()

    def _throw_away(self, num_bytes: int) -> None:
        self._discarded += num_bytes
        if not self.transport.is_closing():
            if self._discarded > DISCARDED_BYTES:
                self.transport.close()
        elif self._discarded > _LINGERING_BYTES:
            self._close_now()
