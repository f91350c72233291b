"""SIGTERM under load, beside callers who are slow, who pause and who never end."""

import asyncio
import contextlib
import gzip
import itertools
import json
import signal
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.chaos.attacked import AttackedServer
from tests.chaos.callers import NDJSON, Caller, calling, head
from tests.chaos.conftest import Chaos, Launch
from tests.fakes import FakeScorer
from tests.service.rig import until
from tests.service.sockets import listening

DRAIN_SECONDS = 3.0
QUICK = {
    "FAKE_FORWARD_SECONDS": "0.005",
    "REWARDD_MAX_PACK_ITEMS": "4",
    "REWARDD_DRAIN_DELAY_SECONDS": "0.1",
    "REWARDD_DRAIN_TIMEOUT_SECONDS": str(DRAIN_SECONDS),
}


def line(number: int) -> bytes:
    return json.dumps({"prompt": "p", "response": f"r{number}"}).encode() + b"\n"


@dataclass
class Tally:
    """What became of the requests of callers who wait for their answers.

    Attributes:
        answered: with 200, each counted once in the stream.
        refused: with 503, and not counted.
        unaccepted: whose connection was closed without a byte of a reply.
        torn: whose reply broke off.
    """

    answered: int = 0
    refused: int = 0
    unaccepted: int = 0
    torn: int = 0
    first_answers: asyncio.Event = field(default_factory=asyncio.Event)

    async def trainer(self, port: int, number: int) -> None:
        """Asks for whitened rewards, over one connection as long as it is kept, until refused."""
        numbers = itertools.count()
        while True:
            try:
                async with calling(port) as caller:
                    await self._ask(caller, (f"by {number}: {n}" for n in numbers))
            except ConnectionError:
                return

    async def _ask(self, caller: Caller, responses: Iterator[str]) -> None:
        for response in responses:
            item = {"prompt": "p", "response": response}
            body = {"stream": "load", "whiten": {"mode": "running"}, "items": [item]}
            try:
                await caller.post("/ppo_reward", body)
                given = await caller.reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError) as exc:
                begun = getattr(exc, "partial", b"")
                self.torn += bool(begun)
                self.unaccepted += not begun
                return
            fields = dict(one.split(": ", 1) for one in given.decode().strip().split("\r\n")[1:])
            try:
                await caller.reader.readexactly(int(fields["content-length"]))
            except (asyncio.IncompleteReadError, ConnectionError):
                self.torn += 1
                return
            self.answered += b" 200 " in given
            self.refused += b" 503 " in given
            if self.answered >= 20:
                self.first_answers.set()
            if fields.get("connection") == "close":
                return


async def endless_file(port: int) -> list[dict[str, Any]]:
    """A file without an end, sent by somebody who reads; the lines of the reply."""
    async with calling(port) as caller:
        await caller.begin("/score", Content_Type=NDJSON)

        async def upload() -> None:
            number = 0
            with contextlib.suppress(ConnectionError):
                while True:
                    await caller.send_chunk(b"".join(line(number + i) for i in range(20)))
                    number += 20

        sending = asyncio.create_task(upload())
        try:
            return [one async for one in caller.lines()]
        finally:
            sending.cancel()


async def pausing(port: int) -> None:
    """Sends lines for ever and never reads a reply."""
    async with calling(port, receive_bytes=4096) as caller:
        await caller.begin("/score", Content_Type=NDJSON)
        number = 0
        with contextlib.suppress(ConnectionError):
            while True:
                await caller.send_chunk(line(number) * 50)
                number += 50


async def slow(port: int, begin: bytes) -> None:
    """Sends the beginning of a request, and then a byte now and then."""
    async with calling(port) as caller:
        with contextlib.suppress(ConnectionError):
            await caller.send(begin)
            while True:
                await caller.send(b"x")
                await asyncio.sleep(0.2)


async def bomb(port: int) -> None:
    """A few bytes of gzip that are very many lines."""
    async with calling(port) as caller:
        content = gzip.compress(b"{}\n" * 2_000_000)
        given = {"Content_Type": NDJSON, "Content_Encoding": "gzip"}
        await caller.send(head("/score", {**given, "Content_Length": str(len(content))}) + content)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            async for _ in caller.chunks():
                pass


HALF_A_BODY = head("/score", {"Content_Type": "application/json", "Content_Length": "99999"})
SLOW = (HALF_A_BODY, b"POST /score HTTP/1.1\r\nX-Slow: ")


def num_counted(state: Path) -> int:
    """How many samples the stream has, as the file says that the server left."""
    assert not list(state.glob("*-wal"))
    with contextlib.closing(sqlite3.connect(state / "streams.sqlite3")) as connection:
        rows = connection.execute("SELECT num_samples FROM stream WHERE name = 'load'").fetchall()
    return int(rows[0][0]) if rows else 0


async def test_whoever_was_accepted_is_answered_once_beside_all_who_hold_it_up(
    launch: Launch, tmp_path: Path, chaos: Chaos
) -> None:
    chance, counted = chaos.random("moments"), 0
    for _ in range(chaos.times(1, 100)):
        server, tally = launch(**QUICK), Tally()
        port = server.port
        trainers = [asyncio.create_task(tally.trainer(port, number)) for number in range(8)]
        files = [asyncio.create_task(endless_file(port)) for _ in range(2)]
        others = [
            *(asyncio.create_task(pausing(port)) for _ in range(2)),
            *(asyncio.create_task(slow(port, begin)) for begin in SLOW),
            asyncio.create_task(bomb(port)),
        ]
        async with asyncio.timeout(60):
            await tally.first_answers.wait()
        await asyncio.sleep(chance.uniform(0.0, 0.3))
        server.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(server.process.wait, DRAIN_SECONDS + 20)
        async with asyncio.timeout(20):
            await asyncio.gather(*trainers, *others)
            replies = await asyncio.gather(*files)

        assert code == 0
        assert tally.torn == 0
        counted += tally.answered
        assert num_counted(tmp_path / "state") == counted
        for *lines, last in replies:
            assert [one["index"] for one in lines] == list(range(len(lines)))
            assert not any("error" in one for one in lines)
            assert (last["index"], last["error"]["code"]) == (len(lines), "stopping")


async def test_with_no_time_to_drain_accepted_requests_are_cut_off_and_the_exit_code_says_so(
    launch: Launch, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    none = {"REWARDD_DRAIN_DELAY_SECONDS": "0", "REWARDD_DRAIN_TIMEOUT_SECONDS": "0"}
    server = launch(**{**QUICK, **none}, FAKE_FORWARD_GATE=str(gate))
    async with calling(server.port) as caller, httpx.AsyncClient(base_url=server.url) as client:
        await caller.post("/score", {"prompt": "p", "response": "r"})
        await until_in_flight(client, 1)
        server.process.send_signal(signal.SIGTERM)
        reply = await caller.reader.read()

    assert reply == b""
    assert await asyncio.to_thread(server.process.wait, 20) == 1


async def until_in_flight(client: httpx.AsyncClient, count: int) -> None:
    expected = f"rm_http_requests_in_flight {count + 1}.0"  # the scrape itself is in flight too
    async with asyncio.timeout(30):
        while expected not in (await client.get("/metrics")).text:  # noqa: ASYNC110 (a process)
            await asyncio.sleep(0.01)


def until_said(server: AttackedServer, event: str) -> None:
    """Wait for an event of the server's log."""
    give_up = time.monotonic() + 30
    while f'"event": "{event}"' not in server.log.read_text():
        assert time.monotonic() < give_up
        time.sleep(0.01)


async def test_a_second_ctrl_c_ends_at_once_and_without_a_traceback(
    launch: Launch, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    server = launch(FAKE_FORWARD_GATE=str(gate))
    async with calling(server.port) as caller, httpx.AsyncClient(base_url=server.url) as client:
        await caller.post("/score", {"prompt": "p", "response": "r"})
        await until_in_flight(client, 1)
        server.process.send_signal(signal.SIGINT)
        await asyncio.to_thread(until_said, server, "draining")
        server.process.send_signal(signal.SIGINT)
        code = await asyncio.to_thread(server.process.wait, 20)  # 45 s is what a drain may take

    assert code == 130
    said = server.log.read_text()
    assert "Traceback" not in said
    assert {json.loads(one)["event"] for one in said.splitlines()} >= {"interrupted", "stopped"}


async def test_without_a_last_call_a_file_without_an_end_takes_the_whole_drain(
    tmp_path: Path,
) -> None:
    drain = {"drain_delay_seconds": 0.0, "drain_timeout_seconds": 1.0}
    async with listening(tmp_path, FakeScorer(), **drain) as at:
        at.state.last_call.set = lambda: None  # type: ignore[method-assign]
        file = asyncio.create_task(endless_file(at.port))
        await until(lambda: at.value("rm_sequences_total", route="/score") > 0)
        at.server.handle_exit(signal.SIGTERM, None)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await file
