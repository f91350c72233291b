"""The ends of an NDJSON stream, at the interface to the server; its lines are routes' matter."""

import asyncio
from typing import Any

import orjson
import pytest
from fastapi import Request
from starlette.requests import ClientDisconnect

from service.http.ndjson import NdjsonResponse, StreamBounds
from service.http.peer import Peer, state_with
from tests.service.rig import until

LINE = b'{"n":1}\n'


class Connection:
    """What a server would be to a stream: hands it pieces of a body, takes lines, may hang up.

    `scored` are the lines that were begun, `ended` those whose scoring was let end or cancelled;
    lines wait for `gate`, and the writer for `takes`.
    """

    def __init__(self, *, stall_seconds: float = 60.0) -> None:
        self.pieces: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.lines: list[dict[str, Any]] = []
        self.is_complete = False
        self.scored = self.ended = self.num_cut = self.num_lingered = 0
        self.gate, self.takes, self.last_call = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.takes.set()
        self.refusal: str | None = None
        self.peer = Peer(self._cut, self._linger)
        self.bounds = StreamBounds(1000, stall_seconds, self.last_call)

    def _cut(self) -> None:
        self.num_cut += 1
        self.peer.gone.set()

    def _linger(self) -> None:
        assert not self.is_complete
        self.num_lingered += 1

    def sends(self, body: bytes, *, more: bool = True) -> None:
        self.pieces.put_nowait({"type": "http.request", "body": body, "more_body": more})

    async def score_line(self, _: bytes) -> dict[str, Any]:
        self.scored += 1
        try:
            await self.gate.wait()
        finally:
            self.ended += 1
        return {} if self.refusal is None else {"error": {"code": self.refusal}}

    async def send(self, message: dict[str, Any]) -> None:
        await self.takes.wait()
        if body := message.get("body"):
            self.lines.append(orjson.loads(body))
        self.is_complete = message.get("more_body") is False

    def serves(self, first_index: int = 0) -> "asyncio.Task[None]":
        scope = {"type": "http", "headers": [], "state": state_with(self.peer, {})}
        response = NdjsonResponse(
            Request(scope, self.pieces.get), self.score_line, self.bounds, first_index=first_index
        )
        return asyncio.create_task(response(scope, self.pieces.get, self.send))


async def until_full(at: Connection) -> None:
    at.sends(LINE * 100)
    await until(lambda: at.scored == 64)


async def test_who_is_gone_takes_its_lines_along():
    at = Connection()
    stream = at.serves()
    await until_full(at)

    at.peer.gone.set()

    with pytest.raises(ClientDisconnect):
        await stream
    assert at.ended == 64
    assert at.lines == []


async def test_at_the_last_call_what_was_read_is_answered_and_the_rest_named():
    at = Connection()
    stream = at.serves(first_index=7)
    await until_full(at)

    at.last_call.set()
    at.gate.set()
    await stream

    *lines, last = at.lines
    assert [line["index"] for line in lines] == list(range(7, 7 + len(lines)))
    assert len(lines) == at.scored == 64
    assert last["index"] == 7 + 64
    assert last["error"]["code"] == "stopping"
    assert "first_index=71" in last["error"]["detail"]
    assert at.num_lingered == 1
    assert at.is_complete


async def test_a_body_that_is_here_is_answered_whole_at_the_last_call():
    at = Connection()
    at.sends(LINE * 200, more=False)
    stream = at.serves()
    await until(lambda: at.scored == 64)

    at.last_call.set()
    at.gate.set()
    await stream

    assert [line["index"] for line in at.lines] == list(range(200))
    assert not any("error" in line for line in at.lines)
    assert at.num_lingered == 0


async def test_the_first_line_that_nobody_will_score_any_more_is_where_to_go_on():
    at = Connection()
    at.refusal = "overloaded"
    at.sends(LINE * 200, more=False)
    stream = at.serves()
    await until(lambda: at.scored == 64)

    at.last_call.set()
    at.gate.set()
    await stream

    assert [(line["index"], line["error"]["code"]) for line in at.lines] == [(0, "stopping")]


async def test_a_line_that_never_comes_ends_the_stream_with_where_to_go_on():
    at = Connection(stall_seconds=0.05)
    at.gate.set()
    stream = at.serves()
    at.sends(LINE + b"half a li")
    at.sends(b"\n" * 100)

    async def drips() -> None:
        while True:
            at.sends(b"\n")  # blank lines are none
            await asyncio.sleep(0.01)

    dripping = asyncio.create_task(drips())
    await stream
    dripping.cancel()

    *_, last = at.lines
    assert last["error"]["code"] == "line_timeout"
    assert last["index"] == 2
    assert at.num_lingered == 1


async def test_who_takes_no_line_is_cut_off():
    at = Connection(stall_seconds=0.05)
    at.gate.set()
    stream = at.serves()
    at.sends(LINE)
    await until(lambda: at.lines != [])
    at.takes.clear()
    at.sends(LINE)

    with pytest.raises(ClientDisconnect):
        await stream
    assert at.num_cut == 1


async def test_while_a_line_is_scored_it_is_nobodys_fault_but_ours():
    at = Connection(stall_seconds=0.02)
    stream = at.serves()
    at.sends(LINE)
    await until(lambda: at.scored == 1)
    await asyncio.sleep(0.1)
    assert not stream.done()

    at.gate.set()
    at.sends(b"", more=False)
    await stream

    assert at.lines == [{"index": 0}]
