"""Callers that are gone: what they asked for is taken back, and nothing is done for nobody."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.edge.hang_ups import HangUps
from service.http import gzip as gzip_module
from tests.chaos.attacked import AttackedServer
from tests.chaos.callers import NDJSON, Caller, calling, connect
from tests.chaos.conftest import Chaos, Launch
from tests.fakes import FakeScorer
from tests.service.dialects.bodies import TONGUES
from tests.service.rig import until
from tests.service.sockets import Listening, listening

HELD = {"prompt": "p", "response": "held"}
PPO = {"stream": "s", "whiten": {"mode": "running"}, "items": [{"prompt": "p", "response": "r"}]}
ASKED: list[tuple[str, Any, dict[str, str]]] = [
    ("/score", {"prompt": "p", "response": "r"}, {}),
    ("/score", {"prompt": "p", "response": "r", "detail": "tokens"}, {}),
    ("/compare", {"prompt": "p", "responses": ["r", "s"]}, {}),
    ("/ppo_reward", PPO, {}),
    ("/ppo_reward", PPO, {"Idempotency_Key": "one"}),
    *((tongue.path, tongue.body("gone text"), {}) for tongue in TONGUES),
    ("/get_reward?reward=whitened&stream=s", {"query": ["r"]}, {}),
    ("/get_reward?reward=whitened&stream=s", {"query": ["r"]}, {"Idempotency_Key": "two"}),
]


class Observed:
    """A server whose device is held by one request, and what it counts."""

    def __init__(self, server: AttackedServer, gate: Path, client: httpx.AsyncClient) -> None:
        self.server = server
        self.gate = gate
        self.client = client

    def open_gate(self) -> None:
        self.gate.unlink(missing_ok=True)

    async def metrics(self) -> dict[str, float]:
        text = (await self.client.get("/metrics")).text
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    async def until(self, name: str, value: float) -> None:
        """Wait for a gauge; without what is tested here it would never come to it."""
        async with asyncio.timeout(30):
            while (await self.metrics())[name] != value:  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.01)

    async def until_nobody_is_left(self) -> None:
        await self.until("rm_queue_items", 0)
        await self.until("rm_http_requests_in_flight", 2)  # the held one and the scrape itself

    async def num_scored(self) -> float:
        found = await self.metrics()
        return sum(n for name, n in found.items() if name.startswith("rm_sequences_total"))


@asynccontextmanager
async def held(launch: Launch, gate: Path, **environment: str) -> AsyncIterator[Observed]:
    """While in the block the device works on one request, which is answered after it."""
    gate.touch()  # noqa: ASYNC240 (nothing else runs here yet)
    server = launch(FAKE_FORWARD_GATE=str(gate), REWARDD_MAX_PACK_ITEMS="1", **environment)
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        observed = Observed(server, gate, client)
        first = asyncio.create_task(client.post("/score", json=HELD))
        await observed.until("rm_http_requests_in_flight", 2)
        await observed.until("rm_queue_items", 0)
        yield observed
        observed.open_gate()
        assert (await first).status_code == 200


async def test_who_hangs_up_while_queued_frees_the_places_at_once_on_every_route(
    launch: Launch, tmp_path: Path, chaos: Chaos
) -> None:
    random = chaos.random("how they hang up")
    async with held(launch, tmp_path / "gate") as at:
        for _ in range(chaos.times(1, 20)):
            callers: list[Caller] = []
            for path, body, headers in ASKED:
                caller = await connect(at.server.port)
                await caller.post(path, body, **headers)
                callers.append(caller)
            # Of two with one key the second waits for the first; a comparison is two texts.
            await at.until("rm_http_requests_in_flight", len(ASKED) + 2)
            await at.until("rm_queue_items", len(ASKED) + 1)
            for caller in callers:
                caller.hang_up(reset=random.random() < 0.5)
            await at.until_nobody_is_left()
        at.open_gate()
        await at.until("rm_http_requests_in_flight", 1)

        assert await at.num_scored() == 1
        assert (await at.client.get("/streams")).json()["streams"] == []


async def test_who_sent_two_requests_at_once_is_missed_as_well(
    launch: Launch, tmp_path: Path
) -> None:
    async with held(launch, tmp_path / "gate") as at:
        caller = await connect(at.server.port)
        await caller.post("/ppo_reward", PPO)
        await caller.post("/ppo_reward", PPO)
        await at.until("rm_queue_items", 1)

        caller.hang_up()
        await at.until_nobody_is_left()
        at.open_gate()
        await at.until("rm_http_requests_in_flight", 1)

        assert await at.num_scored() == 1
        assert (await at.client.get("/streams")).json()["streams"] == []


def items(count: int, length: int = 1) -> bytes:
    return b"".join(
        json.dumps({"prompt": "p", "response": f"r{i} " + "x" * length}).encode() + b"\n"
        for i in range(count)
    )


async def a_little(caller: Caller) -> None:
    """Less than a stream reads ahead, and the body not ended."""
    await caller.begin("/score", Content_Type=NDJSON)
    await caller.send_chunk(items(10))


async def too_much(caller: Caller) -> None:
    """More than a stream reads ahead, so that nothing is read of the connection any more."""
    await caller.begin("/score", Content_Type=NDJSON)
    await caller.send_chunk(items(220, length=1000))


async def far_too_much(caller: Caller) -> None:
    """More than the kernels hold, so that a closed connection's end is stuck behind the rest."""
    await caller.begin("/score", Content_Type=NDJSON)
    caller.writer.write(b"1000000\r\n" + items(9000, length=1000))
    await asyncio.sleep(0.1)


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_streams_lines_are_taken_back_when_its_client_is_gone(
    launch: Launch, tmp_path: Path, chaos: Chaos, *, reset: bool
) -> None:
    num_each = chaos.times(2, 50)
    async with held(launch, tmp_path / "gate") as at:
        callers = []
        for send in (a_little, too_much) * num_each:
            caller = await connect(at.server.port)
            await send(caller)
            callers.append(caller)
        await at.until("rm_queue_items", num_each * (10 + 64))

        for caller in callers:
            caller.hang_up(reset=reset)
        await at.until_nobody_is_left()
        at.open_gate()
        await at.until("rm_http_requests_in_flight", 1)

        assert await at.num_scored() == 1


@asynccontextmanager
async def one_stream_gone(
    tmp_path: Path, send: Callable[[Caller], Awaitable[None]] = too_much
) -> AsyncIterator[tuple[Listening, FakeScorer]]:
    """A stream whose connection isn't read any more, hung up while the device is busy with it."""
    scorer = FakeScorer()
    scorer.gate.clear()
    async with listening(tmp_path, scorer, max_pack_items=1) as at:
        caller = await connect(at.port)
        await send(caller)
        await until(lambda: at.value("rm_queue_items") == 63)
        caller.hang_up()
        yield at, scorer
        scorer.gate.set()
        await until(lambda: not at.server.server_state.connections)


async def test_the_lines_of_a_stream_that_is_gone_are_taken_back_before_any_of_them_ends(
    tmp_path: Path,
) -> None:
    async with one_stream_gone(tmp_path) as (at, scorer):
        await until(lambda: at.value("rm_queue_items") == 0)

    assert len(scorer.forwards) == 1


async def test_without_a_look_at_connections_that_are_not_read_lines_are_scored_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HangUps, "watch", lambda *_: None)
    async with one_stream_gone(tmp_path) as (_, scorer):
        pass

    assert len(scorer.forwards) > 1


async def test_an_end_that_is_stuck_behind_unsent_bytes_is_noticed_by_the_first_line_written(
    tmp_path: Path,
) -> None:
    async with one_stream_gone(tmp_path, far_too_much) as (_, scorer):
        pass

    assert len(scorer.forwards) < 16


async def num_answered(at: Listening, bomb: bytes) -> tuple[int, str | None]:
    """How many lines a gzip body gets, and the last one's error."""
    async with calling(at.port) as caller:
        await caller.begin("/score", Content_Type=NDJSON, Content_Encoding="gzip")
        await caller.send_chunk(bomb)
        await caller.send(b"0\r\n\r\n")
        found = [line async for line in caller.lines()]
    return len(found), found[-1]["error"]["code"]


async def test_a_few_bytes_of_gzip_are_no_hundred_thousand_lines(tmp_path: Path) -> None:
    bomb = gzip.compress(b"{}\n" * 100_000)
    async with listening(tmp_path, FakeScorer()) as at:
        count, code = await num_answered(at, bomb)

    assert count <= gzip_module.FREE_LINES + gzip_module.MAX_LINES_PER_BYTE * len(bomb) + 1
    assert code == "compression_bomb"


async def test_without_a_bound_on_lines_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gzip_module, "FREE_LINES", 10**9)
    async with listening(tmp_path, FakeScorer()) as at:
        count, code = await num_answered(at, gzip.compress(b"{}\n" * 10_000))

    assert count == 10_000
    assert code != "compression_bomb"
