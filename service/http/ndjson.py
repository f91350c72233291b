"""Line-delimited scoring: NDJSON in, NDJSON out, in order, in bounded memory.

Lines are read ahead of the writer only as far as a window of lines and bytes allows, so that a file
of any size streams through. A client must read while it sends, as curl does. A stream that can't go
on says from which line on, and is ended.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.http.gzip import BrokenBody, inflate
from service.http.lines import split_lines
from service.http.peer import Peer, peer_of
from service.http.window import Window
from service.problems import ProblemItem

NDJSON_MEDIA_TYPE = "application/x-ndjson"

ScoreLine = Callable[[bytes], Awaitable[dict[str, Any]]]
"""Scores one line; every failure of the line itself comes back as its `error`."""

_UNANSWERED = frozenset({"overloaded", "engine_closed"})
"""What a line hears that was read and can't be scored any more, once the service is stopping."""


@dataclass(frozen=True, slots=True)
class StreamBounds:
    """How far and how long a stream goes on.

    Attributes:
        max_line_bytes: the longest line; a longer one becomes an error line.
        stall_seconds: how long neither a line may come in nor one be taken while it is the client's
            turn.
        last_call: set when the service stops; what was read is answered, and no more is read.
    """

    max_line_bytes: int
    stall_seconds: float
    last_call: asyncio.Event


@dataclass(frozen=True, slots=True)
class _Ending:
    """Why a stream ends before its body does."""

    code: str
    detail: str


_STOPPING = _Ending("stopping", "The service is stopping.")
_STALLED = _Ending("line_timeout", "No line came in for too long.")


class NdjsonResponse(Response):
    """Streams one output line per input line.

    Unlike Starlette's StreamingResponse it leaves `receive` to the reader of the request's body.

    Args:
        request: whose body is read, line by line.
        score_line: scores one line; cancelled where nobody is there any more to read of it.
        bounds: of the stream.
        compressed: whether the body is gzip, which is inflated as it arrives; where it can't be,
            the reply ends with an error line.
        first_index: number of the first line, for a client that resumes.
        headers: of the response.
    """

    media_type = NDJSON_MEDIA_TYPE

    def __init__(
        self,
        request: Request,
        score_line: ScoreLine,
        bounds: StreamBounds,
        *,
        compressed: bool = False,
        first_index: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self._request = request
        self._score_line = score_line
        self._bounds = bounds
        self._compressed = compressed
        self._index = first_index
        self._window = Window(max_bytes=2 * bounds.max_line_bytes)
        self._body_ended = False
        self._ending: _Ending | None = None
        self._is_writing = False
        self._progress_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Read, score and write until the body ends, the caller goes away or the service stops."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        peer = peer_of(scope)
        try:
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read(tasks))
                beside = [
                    tasks.create_task(watch)
                    for watch in (
                        self._end_at_last_call(reader),
                        self._end_when_stalled(reader, peer),
                        _notice_hang_up(peer),
                    )
                ]
                await self._write(send, peer)
                for task in (reader, *beside):
                    task.cancel()
        except* ClientDisconnect:
            raise ClientDisconnect from None

    async def _read(self, tasks: asyncio.TaskGroup) -> None:
        chunks = self._chunks()
        if self._compressed:
            chunks = inflate(chunks)
        try:
            async for line in split_lines(chunks, self._bounds.max_line_bytes):
                self._progressed()
                await self._window.wait_for_room(len(line or b""))
                self._window.add(tasks.create_task(self._result(line)), len(line or b""))
        except BrokenBody as exc:
            self._ending = _Ending(exc.code, exc.detail)
        self._window.end()
        # Until the writer is done, notice if the caller goes away.
        while True:
            async for _ in self._chunks():
                pass

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            message = await self._request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            is_last = not message.get("more_body", False)
            self._body_ended = self._body_ended or is_last
            if chunk := message.get("body", b""):
                yield chunk
            if is_last:
                return

    async def _write(self, send: Send, peer: Peer | None) -> None:
        async for line in self._window.results():
            if self._bounds.last_call.is_set() and _code(line) in _UNANSWERED:
                self._ending = _STOPPING
                self._window.abandon()
                break
            await self._send(send, self._numbered(line))
            self._index += 1
        if self._ending is not None:
            rest = f"Send the rest, from line {self._index} on, with first_index={self._index}."
            error = ProblemItem("", self._ending.code, f"{self._ending.detail} {rest}")
            await self._send(send, self._numbered({"error": error.as_json()}))
        if peer is not None and not self._body_ended:
            peer.linger()
        await self._send(send, b"", more=False)

    def _numbered(self, line: dict[str, Any]) -> bytes:
        return orjson.dumps({"index": self._index, **line}, option=orjson.OPT_APPEND_NEWLINE)

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        self._progressed()  # the line has its result: from now on it's the client's turn
        self._is_writing = True
        await send({"type": "http.response.body", "body": body, "more_body": more})
        self._is_writing = False
        self._progressed()

    async def _end_at_last_call(self, reader: "asyncio.Task[None]") -> None:
        await self._bounds.last_call.wait()
        if not self._body_ended:  # a body that is here is answered as far as there is time
            self._stop_reading(reader, _STOPPING)

    async def _end_when_stalled(self, reader: "asyncio.Task[None]", peer: Peer | None) -> None:
        self._progressed()
        now = asyncio.get_running_loop().time
        while (left := self._progress_at + self._bounds.stall_seconds - now()) > 0.0:
            await asyncio.sleep(left)
            if self._window.is_scoring and not self._is_writing:
                self._progressed()  # it is our turn
        if self._is_writing:
            if peer is not None:
                peer.cut()  # it can't be told what it doesn't take
            raise ClientDisconnect
        self._stop_reading(reader, _STALLED)

    def _stop_reading(self, reader: "asyncio.Task[None]", ending: _Ending) -> None:
        reader.cancel()
        self._ending = self._ending or ending
        self._window.end()

    def _progressed(self) -> None:
        self._progress_at = asyncio.get_running_loop().time()

    async def _result(self, line: bytes | None) -> dict[str, Any]:
        if line is not None:
            return await self._score_line(line)
        detail = f"The line is longer than {self._bounds.max_line_bytes} bytes."
        return {"error": ProblemItem("", "line_too_long", detail).as_json()}


async def _notice_hang_up(peer: Peer | None) -> None:
    if peer is not None:
        await peer.gone.wait()
        raise ClientDisconnect


def _code(line: Mapping[str, Any]) -> str | None:
    error = line.get("error")
    return error["code"] if error is not None else None
