"""What one connection is allowed, byte by byte, over a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from service.connections.limits import DISCARDED_BYTES
from service.edge.protocol import MAX_HEADER_FIELDS
from tests.chaos.raw_client import ITEM, post, raw_client
from tests.fakes import FakeScorer
from tests.service.sockets import Listening, listening

MOST = 4096
WHOLE = post("/score", f"Content-Length: {len(ITEM)}") + ITEM
CHUNKED = post("/score", "Transfer-Encoding: chunked")
GET = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Listening]:
    directory = tmp_path_factory.mktemp("served")
    async with listening(directory, FakeScorer(), max_header_bytes=MOST) as server:
        yield server


async def ask(server: Listening, *pieces: bytes) -> tuple[int, dict[str, Any]]:
    """The first reply to bytes that are sent piece by piece."""
    async with raw_client(server.port) as client:
        for piece in pieces:
            await client.send(piece)
            await asyncio.sleep(0)  # so that they arrive apart
        status, body = await client.read_reply()
        return status, json.loads(body)


@pytest.mark.parametrize(("size", "status"), [(MOST, 200), (MOST + 1, 431)])
async def test_headers_may_take_what_the_settings_say_and_not_a_byte_more(
    served: Listening, size: int, status: int
):
    rest = size - len(GET) - len(b"a: \r\n\r\n")

    found, _ = await ask(served, GET + b"a: " + b"x" * rest + b"\r\n\r\n")

    assert found == status


@pytest.mark.parametrize(("count", "status"), [(MAX_HEADER_FIELDS, 200), (101, 431)])
async def test_headers_are_counted(served: Listening, count: int, status: int):
    found, body = await ask(served, GET + b"a: b\r\n" * (count - 1) + b"\r\n")

    assert found == status
    if status == 431:
        assert body["code"] == "headers_too_large"


@pytest.mark.parametrize(("size", "status"), [(MOST // 2, 404), (MOST // 2 + 1, 414)])
async def test_a_url_may_take_half_of_it(served: Listening, size: int, status: int):
    found, _ = await ask(served, b"GET /" + b"x" * (size - 1) + b" HTTP/1.1\r\nHost: x\r\n\r\n")

    assert found == status


async def test_a_request_may_come_in_pieces_that_end_anywhere(served: Listening):
    async with raw_client(served.port) as client:
        for cut in (1, 20, len(WHOLE) - len(ITEM) - 3, len(WHOLE) - len(ITEM) - 1, len(WHOLE) - 1):
            await client.send(WHOLE[:cut])
            await asyncio.sleep(0.001)
            await client.send(WHOLE[cut:])
            assert (await client.read_reply())[0] == 200


async def test_a_request_behind_another_is_left_until_that_is_answered(served: Listening):
    async with raw_client(served.port) as client:
        await client.send(WHOLE * 3 + GET + b"\r\n")

        statuses = [(await client.read_reply())[0] for _ in range(4)]

    assert statuses == [200] * 4


async def test_a_chunked_body_may_be_followed_by_another_request(served: Listening):
    chunked = CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(ITEM), ITEM)
    async with raw_client(served.port) as client:
        await client.send(chunked * 3)

        assert [(await client.read_reply())[0] for _ in range(3)] == [200] * 3


async def test_garbage_behind_a_request_does_not_cost_its_reply(served: Listening):
    chunked = CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(ITEM), ITEM)
    async with raw_client(served.port) as client:
        await client.send(chunked + b"\x00\x00\x00\r\n\r\n")
        status, _ = await client.read_reply()
        ended = await client.until_closed()

    assert (status, ended.status) == (200, 0)


async def test_trailers_are_no_headers_of_the_request(tmp_path: Path):
    async with listening(tmp_path, FakeScorer(), api_keys=("k",)) as served:
        chunks = b"%x\r\n%s\r\n0\r\nX-API-Key: k\r\n\r\n" % (len(ITEM), ITEM)

        assert (await ask(served, CHUNKED + chunks))[0] == 401


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"0\r\n" + b"a: b\r\n" * 1000, "framing_too_large"),
        (b"1;" + b"x" * 5000, "framing_too_large"),
        ((b"1;" + b"x" * 50 + b"\r\n \r\n") * 200, "framing_too_large"),
        (b"zz\r\n", "malformed_request"),
    ],
    ids=["trailers", "extension", "extensions", "no-size"],
)
async def test_framing_is_bounded_and_checked(served: Listening, body: bytes, code: str):
    status, problem = await ask(served, CHUNKED + body)

    assert (status, problem["code"]) == (400, code)


async def test_small_chunks_are_welcome_within_reason(served: Listening):
    one_by_one = b"".join(b"1\r\n%c\r\n" % byte for byte in ITEM) + b"0\r\n\r\n"
    spaces = b"1\r\n \r\n" * 3000

    assert (await ask(served, CHUNKED + spaces + one_by_one))[0] == 200


async def test_an_unwanted_small_body_costs_no_connection(served: Listening):
    unwanted = post("/nowhere", "Content-Length: 1000")
    async with raw_client(served.port) as client:
        await client.send(unwanted)
        assert (await client.read_reply())[0] == 404
        await client.send(b"x" * 1000 + WHOLE)
        assert (await client.read_reply())[0] == 200


async def test_an_unwanted_large_body_ends_it(served: Listening):
    async with raw_client(served.port) as client:
        await client.send(post("/nowhere", f"Content-Length: {DISCARDED_BYTES + 1}"))
        ended = await client.until_closed()

    assert ended.status == 404


async def test_a_refused_request_is_counted_by_its_status(served: Listening):
    labels = {"route": "unmatched", "method": "other", "code": "400"}
    before = served.value("rm_http_requests_total", **labels)

    await ask(served, b"\x16\x03\x01 this is TLS \r\n\r\n")

    assert served.value("rm_http_requests_total", **labels) == before + 1


async def test_open_connections_are_told(served: Listening):
    async with raw_client(served.port) as client:
        await client.send(WHOLE)
        await client.read_reply()

        assert served.value("rm_connections") >= 1
        assert served.value("rm_connection_capacity") > 1
