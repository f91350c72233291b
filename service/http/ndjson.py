"""Line-delimited scoring: NDJSON in, NDJSON out, in order, in bounded memory.

Lines are read ahead of the writer only as far as a window of lines and bytes allows, so that a file
of any size streams through. A client must read while it sends, as curl does.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import orjson
from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.http.gzip import BrokenBody, inflate
from service.problems import ProblemItem

NDJSON_MEDIA_TYPE = "application/x-ndjson"

ScoreLine = Callable[[bytes], Awaitable[dict[str, Any]]]
"""Scores one line; every failure of the line itself comes back as its `error`."""

_WINDOW_LINES = 64


class NdjsonResponse(Response):
    """Streams one output line per input line.

    Unlike Starlette's StreamingResponse it leaves `receive` to the reader of the request's body.

    Args:
        request: whose body is read, line by line.
        score_line: scores one line.
        max_line_bytes: the longest line; a longer one becomes an error line.
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
        *,
        max_line_bytes: int,
        compressed: bool = False,
        first_index: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self._request = request
        self._score_line = score_line
        self._max_line_bytes = max_line_bytes
        self._compressed = compressed
        self._index = first_index
        self._window = _Window(max_bytes=2 * max_line_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Read, score and write until the body ends or the caller goes away."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read(tasks))
                async for line in self._window.results():
                    body = self._numbered(line)
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                reader.cancel()
        except* ClientDisconnect:
            raise ClientDisconnect from None
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _read(self, tasks: asyncio.TaskGroup) -> None:
        chunks: AsyncIterator[bytes] = self._request.stream()
        if self._compressed:
            chunks = inflate(chunks)
        try:
            async for line in split_lines(chunks, self._max_line_bytes):
                await self._window.wait_for_room(len(line or b""))
                work = self._score_line(line) if line is not None else self._too_long()
                self._window.add(tasks.create_task(_as_task(work)), len(line or b""))
        except BrokenBody as exc:
            self._window.add(tasks.create_task(_as_task(_failed(exc.code, exc.detail))), 0)
        self._window.end()
        # Until the writer is done, notice if the caller goes away.
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        raise ClientDisconnect

    async def _too_long(self) -> dict[str, Any]:
        detail = f"The line is longer than {self._max_line_bytes} bytes."
        return await _failed("line_too_long", detail)

    def _numbered(self, line: dict[str, Any]) -> bytes:
        numbered = orjson.dumps({"index": self._index, **line}, option=orjson.OPT_APPEND_NEWLINE)
        self._index += 1
        return numbered


class _Window:
    """The lines between reader and writer, in order."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lines: deque[tuple[asyncio.Task[dict[str, Any]], int]] = deque()
        self._bytes = 0
        self._ended = False
        self._notified = asyncio.Event()

    async def wait_for_room(self, num_bytes: int) -> None:
        while self._lines and (
            len(self._lines) >= _WINDOW_LINES or self._bytes + num_bytes > self._max_bytes
        ):
            self._notified.clear()
            await self._notified.wait()

    def add(self, task: asyncio.Task[dict[str, Any]], num_bytes: int) -> None:
        self._lines.append((task, num_bytes))
        self._bytes += num_bytes
        self._notified.set()

    def end(self) -> None:
        self._ended = True
        self._notified.set()

    async def results(self) -> AsyncIterator[dict[str, Any]]:
        while True:
            while not self._lines:
                if self._ended:
                    return
                self._notified.clear()
                await self._notified.wait()
            task, num_bytes = self._lines[0]
            result = await task
            # The line keeps its place until it is written, or the window would not bound memory.
            yield result
            self._lines.popleft()
            self._bytes -= num_bytes
            self._notified.set()


async def split_lines(
    chunks: AsyncIterator[bytes], max_line_bytes: int
) -> AsyncIterator[bytes | None]:
    """The lines of a body, blank ones left out; None stands for a line that is too long.

    Args:
        chunks: the body as it arrives.
        max_line_bytes: no more than this and one chunk is ever held.
    """
    held = bytearray()
    skipping = False
    async for chunk in chunks:
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            held += part
            if skipping or len(held) > max_line_bytes:
                if not skipping:
                    yield None
            elif held.strip():
                yield bytes(held)
            held.clear()
            skipping = False
        if not skipping:
            held += rest
        if len(held) > max_line_bytes:
            yield None
            held.clear()
            skipping = True
    if held.strip():
        yield bytes(held)


async def _failed(code: str, detail: str) -> dict[str, Any]:
    return {"error": ProblemItem("", code, detail).as_json()}


async def _as_task(work: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    return await work
