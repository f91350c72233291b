"""Requests that never end: whatever grows is refused before memory or time do."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.attacked import AttackedServer, attacked_server
from tests.chaos.conftest import Chaos, Launch
from tests.chaos.raw_client import ITEM, RawClient, pieces, post, raw_client

MIB = 2**20
GET = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
CHUNKED = post("/score", "Transfer-Encoding: chunked")
ATTACKS: dict[str, tuple[bytes, bytes, int]] = {
    "many short headers": (GET, b"a: b\r\n", 431),
    "one endless header": (GET + b"a: ", b"x", 431),
    "one endless header name": (GET, b"x", 431),
    "an endless URL": (b"GET /", b"x", 414),
    "an endless method": (b"", b"G", 400),
    "blank lines": (b"", b"\r\n", 431),
    "many short trailers": (CHUNKED + b"0\r\n", b"a: b\r\n", 400),
    "one endless trailer": (CHUNKED + b"0\r\na: ", b"x", 400),
    "one endless trailer name": (CHUNKED + b"0\r\n", b"x", 400),
    "one endless chunk extension": (CHUNKED + b"1;", b"x", 400),
    "an extension on every chunk": (CHUNKED, b"1;" + b"x" * 100 + b"\r\n \r\n", 400),
    "chunks of one byte": (CHUNKED, b"1\r\n \r\n", 400),
    "endless zeros before a chunk's size": (CHUNKED, b"0", 400),
    "a body beyond every bound": (CHUNKED, b"8000\r\n" + b" " * 0x8000 + b"\r\n", 413),
    "a body that nobody reads": (post("/health/live", f"Content-Length: {2**40}"), b"x", 405),
}
"""What is sent first, what then without end, and what answers it."""


def reset_peak(server: AttackedServer) -> int:
    """Forget the most that the process held; what it holds now."""
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")
    return server.resident_bytes()


async def attack(port: int, name: str, num_bytes: int) -> int:
    begin, repeated, _ = ATTACKS[name]
    async with raw_client(port) as client:
        return (await client.until_closed(pieces(begin, repeated, num_bytes))).status


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackedServer]:
    with attacked_server(
        tmp_path_factory.mktemp("endless"), "tests.integration.fake_server", {}
    ) as server:
        yield server


async def test_nothing_without_end_takes_memory_or_time(chaos: Chaos, endless: AttackedServer):
    server = endless
    async with server.watched() as health:
        for name, (_, _, expected) in ATTACKS.items():
            held = reset_peak(server)
            found = await attack(server.port, name, chaos.times(16, 200) * MIB)
            assert found in {expected, 0}, name  # 0: the reset came before the reply was read
            assert server.peak_resident_bytes() - held < 16 * MIB, name

    assert set(health.statuses) == {200}
    assert max(health.seconds) < 2.0


@pytest.mark.parametrize("name", sorted(set(ATTACKS) - {"a body beyond every bound"}))
async def test_a_refusal_is_read_by_whoever_sends_no_more_than_was_refused(
    name: str, endless: AttackedServer
):
    begin, repeated, expected = ATTACKS[name]
    num_bytes = 500_000 if name == "chunks of one byte" else 100_000
    if name == "a body that nobody reads":
        num_bytes = 2 * MIB
    async with raw_client(endless.port) as client:
        ended = await client.until_closed(pieces(begin, repeated, num_bytes))

    assert ended.status == expected


async def test_without_the_edge_short_headers_take_memory(launch: Launch):
    server = launch("tests.chaos.unguarded_server")
    held = reset_peak(server)

    async with raw_client(server.port) as client:
        await client.send(GET + b"a: b\r\n" * (2 * MIB // 6) + b"\r\n")
        await client.read_reply()

    assert server.peak_resident_bytes() - held > 32 * MIB


async def pipelined(client: RawClient, count: int) -> list[int]:
    request = post("/score", f"Content-Length: {len(ITEM)}") + ITEM
    sending = asyncio.create_task(client.send(request * count))
    statuses = [(await client.read_reply())[0] for _ in range(count)]
    await sending
    return statuses


async def test_pipelined_requests_are_answered_one_after_the_other(endless: AttackedServer):
    async with raw_client(endless.port) as client:
        assert await pipelined(client, 500) == [200] * 500


async def test_a_pipeline_whose_replies_nobody_reads_is_not_read_on(
    chaos: Chaos, endless: AttackedServer
):
    held = reset_peak(endless)
    many = GET + b"\r\n"
    async with raw_client(endless.port) as client:
        try:
            async with asyncio.timeout(chaos.times(2, 20)):
                for piece in pieces(b"", many, 64 * MIB):
                    await client.send(piece)
        except TimeoutError:
            pass  # the kernel's buffers are full, and the server reads no more

        client.abort()
        assert endless.peak_resident_bytes() - held < 8 * MIB
