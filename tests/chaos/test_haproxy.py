"""deploy/haproxy.cfg before a real server: what it passes on, and what it ends by itself."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.chaos.attacked import AttackedServer, attacked_server
from tests.chaos.raw_client import ITEM, pieces, post, raw_client, raw_clients
from tests.chaos.test_slow_clients import LATE, dribbled, silent
from tests.server_process import ROOT

HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
CONFIGURATION = ROOT / "deploy" / "haproxy.cfg"
MAX_PER_ADDRESS = 60

pytestmark = pytest.mark.skipif(
    HAPROXY is None, reason="haproxy is not installed (apt-get install haproxy)"
)


@contextmanager
def haproxy(directory: Path, backend: AttackedServer) -> Iterator[int]:
    """HAProxy with the shipped configuration, its deadlines of ten seconds made one; its port."""
    shortened, count = re.subn(r"\b10s\b", "1s", CONFIGURATION.read_text("utf-8"))
    assert count == 3  # headers, queue, body
    (directory / "haproxy.cfg").write_text(shortened)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "EXPOSED_ADDRESS": f"127.0.0.1:{port}",
        "BACKEND_ADDRESS": f"127.0.0.1:{backend.port}",
        "MAX_PER_ADDRESS": str(MAX_PER_ADDRESS),
    }
    process = subprocess.Popen(
        [str(HAPROXY), "-db", "-f", str(directory / "haproxy.cfg")], env=environment
    )
    try:
        until_listening(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def until_listening(port: int, process: "subprocess.Popen[bytes]") -> None:
    give_up = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert process.poll() is None, "haproxy ended"
            assert time.monotonic() < give_up
            time.sleep(0.02)
        else:
            return


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, AttackedServer]]:
    """The exposed port, and the server behind it, which takes few connections."""
    directory = tmp_path_factory.mktemp("exposed")
    with ExitStack() as stack:
        server = stack.enter_context(
            attacked_server(
                directory, "tests.integration.fake_server", {"REWARDD_MAX_CONNECTIONS": "8"}
            )
        )
        yield stack.enter_context(haproxy(directory, server)), server


async def test_scores_and_streams_pass(exposed: tuple[int, AttackedServer]):
    port, _ = exposed
    lines = [ITEM + b"\n" for _ in range(200)]

    async def one_by_one():
        for line in lines:
            yield line

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        alone = await client.post("/score", json={"prompt": "p", "response": "r"})
        streamed = await client.post(
            "/score", content=one_by_one(), headers={"Content-Type": "application/x-ndjson"}
        )

    assert alone.status_code == 200
    assert len(streamed.text.splitlines()) == len(lines)


@pytest.mark.parametrize(
    ("client", "status"),
    [
        (dribbled(b"GET / HTTP/1.1\r\nX: "), 408),
        (dribbled(post("/score", "Content-Length: 1000")), 408),
        (silent, 0),
    ],
    ids=["headers", "body", "silence"],
)
async def test_slow_clients_never_reach_the_server(
    exposed: tuple[int, AttackedServer], client, status
):
    port, server = exposed
    files = server.num_open_files()

    async with asyncio.timeout(LATE):
        ended = await asyncio.gather(*(client(port) for _ in range(40)))

    assert {one.status for one in ended} == {status}
    assert server.num_open_files() <= files + 4


@pytest.mark.parametrize(
    ("begin", "repeated", "status"),
    [
        (b"GET /health/live HTTP/1.1\r\nHost: x\r\n", b"a: b\r\n", 400),
        (b"GET /health/live HTTP/1.1\r\nHost: x\r\na: ", b"x", 400),
        (b"GET /", b"x", 400),
        (b"GET /" + b"x" * 17_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"", 414),
        (post("/score", f"Content-Length: {2**30}"), b"x", 413),
    ],
    ids=["fields", "field", "url", "long-url", "body"],
)
async def test_endless_requests_end_here(
    exposed: tuple[int, AttackedServer], begin: bytes, repeated: bytes, status: int
):
    port, server = exposed
    held = server.resident_bytes()
    async with raw_client(port) as client:
        content = pieces(begin, repeated, 2**20) if repeated else [begin]
        assert (await client.until_closed(content)).status in {status, 0}

    assert server.resident_bytes() - held < 4 * 2**20


async def test_operators_routes_stay_inside(exposed: tuple[int, AttackedServer]):
    port, server = exposed
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{port}/metrics")).status_code == 404
        assert (await client.get(f"{server.url}/metrics")).status_code == 200


async def test_one_address_has_its_share_of_connections_and_health_answers_beside_it(
    exposed: tuple[int, AttackedServer],
):
    port, _ = exposed
    async with raw_clients(port, MAX_PER_ADDRESS - 10) as clients:
        # More bodies that go on than the server takes connections.
        for client in clients:
            await client.send(
                b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
                b"Content-Length: 1000\r\n\r\nx"
            )
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as asking:
            assert (await asking.get("/health/live")).status_code == 200
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await ask_beyond_the_share(port)


async def ask_beyond_the_share(port: int) -> None:
    async with raw_clients(port, 30) as beyond, asyncio.timeout(LATE):
        await beyond[-1].send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        await beyond[-1].read_reply()
