"""Requests that offer another protocol, and tunnels, over a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator

import httptools
import pytest
import pytest_asyncio

from service.edge import protocol
from service.edge.upgrades import has_body, parser_from_body_on
from tests.chaos.raw_client import ITEM, post, raw_client
from tests.fakes import FakeScorer
from tests.service.sockets import Listening, listening

# As Java's client sends it unless it is told to speak HTTP/1.1.
OFFER = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB")
GET = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKS = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (9, ITEM[:9], len(ITEM) - 9, ITEM[9:])
KINDS = {
    "of a length": post("/score", *OFFER, f"Content-Length: {len(ITEM)}") + ITEM,
    "in chunks": post("/score", *OFFER, "Transfer-Encoding: chunked") + CHUNKS,
}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Listening]:
    async with listening(tmp_path_factory.mktemp("served"), FakeScorer()) as server:
        yield server


@pytest.mark.parametrize("kind", KINDS)
async def test_an_offer_changes_nothing_and_requests_behind_it_are_answered(
    served: Listening, kind: str
):
    whole = KINDS[kind]
    head = whole.index(b"\r\n\r\n") + 4
    async with raw_client(served.port) as client:
        for cut in (len(whole), head - 1, head, head + 1, len(whole) - 1):
            await client.send(whole[:cut])
            await asyncio.sleep(0.001)  # so that they arrive apart
            await client.send(whole[cut:] + GET)

            status, body = await client.read_reply()
            assert status == 200
            assert json.loads(body)["num_tokens"] == 2
            assert (await client.read_reply())[0] == 200


async def replies(server: Listening) -> list[int]:
    """What comes for one request that offers another protocol and has a request for a body."""
    statuses = []
    async with raw_client(server.port) as client:
        await client.send(post("/score", *OFFER, f"Content-Length: {len(GET)}") + GET)
        statuses.append((await client.read_reply())[0])
        # Whatever the body was taken for is answered before this.
        await client.send(GET.replace(b"/health/live", b"/nowhere"))
        while statuses[-1] != 404:
            statuses.append((await client.read_reply())[0])
    return statuses


async def test_a_body_behind_an_offer_is_no_request(served: Listening):
    assert await replies(served) == [400, 404]


async def test_with_a_body_overlooked_it_is_one(served: Listening, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(protocol, "has_body", lambda _: False)

    assert await replies(served) == [400, 200, 404]


@pytest.mark.parametrize(
    "head",
    [
        post("/score", *OFFER, "Transfer-Encoding: chunked, cow"),
        post("/score", *OFFER, "Transfer-Encoding: cow"),
        b"CONNECT elsewhere:80 HTTP/1.1\r\nHost: elsewhere:80\r\n\r\n",
        b"CONNECT elsewhere:80 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    ],
)
async def test_what_has_no_known_end_and_what_wants_a_tunnel_is_refused_in_words(
    served: Listening, head: bytes
):
    async with raw_client(served.port) as client:
        await client.send(head + GET)

        status, body = await client.read_reply()
        assert (status, json.loads(body)["code"]) == (400, "malformed_request")
        assert await client.reader.read() == b""


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (b"content-length", b"1", True),
        (b"content-length", b"10", True),
        (b"content-length", b" 000 ", False),
        (b"transfer-encoding", b"chunked", True),
        (b"upgrade", b"h2c", False),
    ],
)
async def test_headers_say_whether_a_body_follows(name: bytes, value: bytes, expected: bool):
    assert has_body([(b"host", b"x"), (name, value)]) is expected


async def test_of_the_headers_nothing_is_heard_again():
    heard: list[object] = []

    class Hears:
        def on_message_begin(self) -> None:
            heard.append("begin")

        def on_url(self, url: bytes) -> None:
            heard.append(url)

        def on_header(self, name: bytes, value: bytes) -> None:
            heard.append((name, value))

        def on_headers_complete(self) -> None:
            heard.append("headers")

        def on_body(self, body: bytes) -> None:
            heard.append(body)

        def on_message_complete(self) -> None:
            heard.append("complete")

    parser = parser_from_body_on(Hears(), [(b"host", b"x"), (b"content-length", b"5")])
    assert heard == []

    parser.feed_data(b"hello")
    assert heard == [b"hello", "complete"]
    parser.feed_data(b"GET /x HTTP/1.1\r\na: b\r\n\r\n")
    assert heard[2:] == ["begin", b"/x", (b"a", b"b"), "headers", "complete"]
    with pytest.raises(httptools.HttpParserError):
        parser_from_body_on(Hears(), [(b"transfer-encoding", b"cow")])
