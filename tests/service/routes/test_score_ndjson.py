"""POST /score line by line; gzipped lines are answered as the same lines uncompressed."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from rm_core.types import Dialogue
from tests.fakes import FakeScorer, fake_reward

HEADERS = {"Content-Type": "application/x-ndjson"}
GZIPPED = {**HEADERS, "Content-Encoding": "gzip"}


def lines(reply: Any) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in reply.content.splitlines()]


def item(response: str) -> bytes:
    return orjson.dumps({"prompt": "p", "response": response})


def items(count: int) -> bytes:
    return b"".join(item(f"r{i}") + b"\n" for i in range(count))


async def test_every_line_is_answered_by_a_line_in_order(service):
    reply = await service.client.post("/score", content=items(300), headers=HEADERS)

    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/x-ndjson"
    found = lines(reply)
    assert [line["index"] for line in found] == list(range(300))
    for i, line in enumerate(found):
        assert line["safety"]["reward"] == fake_reward("safety", Dialogue("p", f"r{i}"))


async def test_a_bad_line_is_one_error_line(start):
    async with start(max_body_bytes=1024) as service:
        body = b"\n".join(
            [
                item("a"),
                b"",
                b"{nonsense",
                item("x" * 5000),
                b"[1]",
                item("  "),
                orjson.dumps({"items": []}),
                item("b"),
                b'{"prompt":"p","responses":["a","b"]}',
            ]
        )
        found = lines(await service.client.post("/score", content=body, headers=HEADERS))

    codes = [line["error"]["code"] if "error" in line else None for line in found]
    assert codes == [
        None,
        "invalid_json",
        "line_too_long",
        "invalid_request",
        "empty_text",
        "invalid_request",
        None,
        None,
    ]
    assert found[4]["error"]["pointer"] == "/response"
    assert len(found[7]["advantages"]) == 2


@pytest.mark.parametrize("headers", [HEADERS, GZIPPED], ids=["plain", "gzipped"])
async def test_a_body_of_any_size_streams_through_whatever_the_chunks(start, headers):
    body = items(500)
    if headers is GZIPPED:
        body = gzip.compress(body)

    async def chunks() -> AsyncIterator[bytes]:
        for start_at in range(0, len(body), 7):
            yield body[start_at : start_at + 7]

    async with start(max_body_bytes=1024, max_items=1) as service:
        found = lines(await service.client.post("/score", content=chunks(), headers=headers))

    assert [line["index"] for line in found] == list(range(500))
    assert not any("error" in line for line in found)


async def test_reading_ahead_is_bounded(start):
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for i in range(5000):
            sent += 1
            yield item(f"r{i}") + b"\n"

    async with start() as service:
        service.scorer.gate.clear()
        request = asyncio.create_task(
            service.client.post("/score", content=chunks(), headers=HEADERS)
        )
        await asyncio.to_thread(service.scorer.begun.wait, 10)
        for _ in range(200):
            await asyncio.sleep(0)
        assert sent < 100
        service.scorer.gate.set()
        assert len(lines(await request)) == 5000


async def test_lines_wait_for_room_where_a_lone_request_would_be_refused(start):
    async with start(max_queue_items=1, max_items=1) as service:
        found = lines(await service.client.post("/score", content=items(3), headers=HEADERS))

    assert not any("error" in line for line in found)


async def test_a_client_resumes_by_telling_the_first_index(service):
    reply = await service.client.post("/score?first_index=7", content=item("a"), headers=HEADERS)

    assert lines(reply)[0]["index"] == 7
    bad = await service.client.post("/score?first_index=-1", content=item("a"), headers=HEADERS)
    assert bad.status_code == 422
    assert bad.json()["errors"][0]["code"] == "greater_than_equal"


async def test_a_dead_engine_is_an_error_line(start):
    scorer = FakeScorer()
    scorer.die = True
    async with start(scorer) as service:
        found = lines(await service.client.post("/score", content=item("a"), headers=HEADERS))

    assert found[0]["error"]["code"] == "engine_closed"


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
async def test_gzipped_lines_have_the_answers_of_plain_ones(service, encoding):
    body = items(300) + b"{nonsense\n"
    plain = await service.client.post("/score", content=body, headers=HEADERS)
    zipped = await service.client.post(
        "/score", content=gzip.compress(body), headers={**HEADERS, "Content-Encoding": encoding}
    )

    assert zipped.status_code == 200
    assert zipped.content == plain.content
    assert len(lines(zipped)) == 301


async def test_a_line_is_bounded_after_it_is_inflated(start):
    async with start(max_body_bytes=1024) as service:
        reply = await service.client.post(
            "/score", content=gzip.compress(item("x" * 5000) + b"\n" + items(1)), headers=GZIPPED
        )

    first, second = lines(reply)
    assert first["error"]["code"] == "line_too_long"
    assert "error" not in second


async def test_where_the_gzip_breaks_the_reply_says_so_after_what_was_good(service):
    body = gzip.compress(items(3)) + gzip.compress(items(50))[:-20]
    found = lines(await service.client.post("/score?first_index=10", content=body, headers=GZIPPED))

    assert [line["index"] for line in found] == list(range(10, 10 + len(found)))
    assert len(found) >= 4
    assert not any("error" in line for line in found[:-1])
    assert found[-1]["error"]["code"] == "truncated_gzip"


async def test_a_bomb_is_cut_off_and_the_server_goes_on(service):
    bomb = gzip.compress(b"x" * (64 * 1024 * 1024))
    *_, last = lines(await service.client.post("/score", content=bomb, headers=GZIPPED))

    assert last["error"]["code"] == "compression_bomb"
    after = await service.client.post("/score", json={"prompt": "p", "response": "r"})
    assert after.status_code == 200


async def test_other_compressions_and_gzipped_json_are_refused_with_what_is_read(service):
    for headers, accepted in (
        ({**GZIPPED, "Content-Encoding": "br"}, "gzip, identity"),
        ({**GZIPPED, "Content-Type": "application/json"}, "identity"),
    ):
        reply = await service.client.post("/score", content=b"x", headers=headers)

        assert reply.status_code == 415
        assert reply.json()["code"] == "unsupported_encoding"
        assert reply.headers["accept-encoding"] == accepted
