"""Clients that are slow on purpose: each is closed by its deadline, and others don't notice."""

import asyncio
import contextlib
import functools
import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.chaos.attacked import AttackedServer, attacked_server
from tests.chaos.conftest import Chaos, Launch
from tests.chaos.raw_client import ITEM, Ended, post, raw_client, raw_clients

MIB = 2**20
LATE = 20.0
"""Seconds after which a deadline of one second counts as missed on whatever machine."""

SHORT_DEADLINES = {
    "REWARDD_HEADER_TIMEOUT_SECONDS": "1",
    "REWARDD_BODY_TIMEOUT_SECONDS": "1",
    "REWARDD_IDLE_TIMEOUT_SECONDS": "1",
    "REWARDD_WRITE_TIMEOUT_SECONDS": "1",
}
WHOLE = post("/score", f"Content-Length: {len(ITEM)}") + ITEM


def dribbled(begin: bytes) -> Callable[[int], Awaitable[Ended]]:
    async def client(port: int) -> Ended:
        async with raw_client(port) as connection:
            content = itertools.chain([begin], itertools.repeat(b"x"))
            return await connection.until_closed(content, pause_seconds=0.1)

    return client


async def silent(port: int) -> Ended:
    async with raw_client(port) as connection:
        return await connection.until_closed()


async def idle(port: int) -> Ended:
    async with raw_client(port) as connection:
        await connection.send(WHOLE)
        assert (await connection.read_reply())[0] == 200
        return await connection.until_closed()


async def deaf(port: int) -> None:
    """Asks for more and more, and takes nothing of what it is told."""
    async with raw_client(port) as connection:
        connection.pause_reading()
        with contextlib.suppress(ConnectionError):
            while True:
                await connection.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LATE):
        while not condition():  # noqa: ASYNC110 (what another process holds has no event)
            await asyncio.sleep(0.02)


SLOW: dict[str, tuple[Callable[[int], Awaitable[Ended]], int]] = {
    "sends its headers byte by byte": (dribbled(b"GET / HTTP/1.1\r\nX: "), 408),
    "sends its body byte by byte": (dribbled(post("/score", "Content-Length: 1000")), 408),
    "says nothing": (silent, 0),
    "says nothing more": (idle, 0),
}


async def good_traffic(server: AttackedServer, enough: asyncio.Event) -> list[int]:
    statuses = []
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        while not enough.is_set():
            reply = await client.post("/score", json={"prompt": "p", "response": "r"})
            statuses.append(reply.status_code)
            await asyncio.sleep(0)
    return statuses


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., AttackedServer]]:
    """Servers that several of these tests attack, one of each kind."""
    with ExitStack() as stack:

        @functools.cache
        def start(module: str, *environment: tuple[str, str]) -> AttackedServer:
            directory = tmp_path_factory.mktemp("started")
            return stack.enter_context(attacked_server(directory, module, dict(environment)))

        yield start


@pytest.fixture
def impatient(started: Callable[..., AttackedServer]) -> AttackedServer:
    """A server with deadlines of one second."""
    return started("tests.integration.fake_server", *SHORT_DEADLINES.items())


@pytest.fixture
def capped(started: Callable[..., AttackedServer]) -> AttackedServer:
    """A server that takes eight connections."""
    return started("tests.integration.fake_server", ("REWARDD_MAX_CONNECTIONS", "8"))


@pytest.fixture
def unguarded(started: Callable[..., AttackedServer]) -> AttackedServer:
    """A server without the edge, with uvicorn's own cap of eight connections."""
    return started("tests.chaos.unguarded_server", ("UNGUARDED_CONCURRENCY", "8"))


async def test_slow_clients_are_closed_by_their_deadline_and_others_are_served(
    chaos: Chaos, impatient: AttackedServer
):
    server = impatient
    files = server.num_open_files()
    enough = asyncio.Event()
    good = asyncio.create_task(good_traffic(server, enough))

    for kind, (client, status) in SLOW.items():
        count = chaos.times(50, 500)
        async with asyncio.timeout(LATE):
            ended = await asyncio.gather(*(client(server.port) for _ in range(count)))
        assert {one.status for one in ended} == {status}, kind

    enough.set()
    statuses = await good
    assert set(statuses) == {200}
    await until(lambda: server.num_open_files() <= files + 4)


async def test_who_does_not_read_its_replies_is_cut(chaos: Chaos, impatient: AttackedServer):
    async with asyncio.timeout(6 * LATE):
        await asyncio.gather(*(deaf(impatient.port) for _ in range(chaos.times(1, 20))))
    async with httpx.AsyncClient(base_url=impatient.url) as client:
        metrics = (await client.get("/metrics")).text

    assert 'rm_connections_closed_total{reason="writing"} 0.0' not in metrics


async def test_without_the_edge_slow_clients_stay(
    impatient: AttackedServer, unguarded: AttackedServer
):
    staying = asyncio.gather(*(silent(unguarded.port) for _ in range(5)))

    await asyncio.gather(*(silent(impatient.port) for _ in range(5)))

    assert not staying.done()
    staying.cancel()
    await asyncio.gather(staying, return_exceptions=True)


async def test_health_is_answered_when_all_connections_are_taken(capped: AttackedServer):
    server = capped
    async with raw_clients(server.port, 8) as clients:
        for client in clients:  # each holds its place: a body that goes on
            await client.send(post("/score", "Content-Length: 1000") + b"x")
        async with httpx.AsyncClient(base_url=server.url) as asking:
            assert (await asking.get("/health/live")).status_code == 200
            refused = await asking.post("/score", json={"prompt": "p", "response": "r"})
            assert refused.status_code == 503
            assert refused.json()["code"] == "too_many_connections"
            assert refused.headers["retry-after"] == "1"
        # Silent ones crowd the reserved places, and give way there.
        async with raw_clients(server.port, 200), httpx.AsyncClient(base_url=server.url) as asking:
            assert (await asking.get("/health/live")).status_code == 200


async def until_alone(server: AttackedServer) -> None:
    """Until the server has noticed that all others are gone."""
    async with asyncio.timeout(LATE), httpx.AsyncClient(base_url=server.url) as asking:
        while "rm_connections 1.0" not in (await asking.get("/metrics")).text:
            pass


async def test_an_idle_connection_gives_way_to_a_new_one(capped: AttackedServer):
    server = capped
    await until_alone(server)
    async with raw_clients(server.port, 8) as clients:
        for client in clients:
            await client.send(WHOLE)
            assert (await client.read_reply())[0] == 200
        async with httpx.AsyncClient(base_url=server.url) as asking:
            fine = await asking.post("/score", json={"prompt": "p", "response": "r"})
        assert fine.status_code == 200
        assert (await clients[0].until_closed()).status == 0  # the one that was idle for longest
        await clients[1].send(WHOLE)
        assert (await clients[1].read_reply())[0] == 200


async def test_with_uvicorns_own_cap_health_is_refused(unguarded: AttackedServer):
    server = unguarded
    async with raw_clients(server.port, 8), httpx.AsyncClient(base_url=server.url) as asking:
        assert (await asking.get("/health/live")).status_code == 503


@pytest.mark.parametrize("bounded", [True, False], ids=["bounded", "control"])
async def test_unfinished_bodies_are_bounded_together(chaos: Chaos, launch: Launch, bounded: bool):
    bound = 16 * MIB if bounded else 2**40
    server = launch(REWARDD_MAX_UNFINISHED_BODY_BYTES=str(bound))
    count = chaos.times(10, 60)
    held = server.resident_bytes()
    size = 8 * MIB
    async with raw_clients(server.port, count) as clients:
        for client in clients:
            await client.send(post("/score", f"Content-Length: {size}"))
            await client.send(b" " * (size - 1))
        if bounded:
            replies = await asyncio.gather(*(one.read_reply() for one in clients[: count - 2]))
            assert {status for status, _ in replies} == {503}
            await clients[-1].send(b" ")
            assert (await clients[-1].read_reply())[0] == 400  # read in full: it is no JSON
        else:
            await until(lambda: server.resident_bytes() > held + (count - 1) * size)
        grown = server.peak_resident_bytes() - held

    assert (grown < 48 * MIB) is bounded
