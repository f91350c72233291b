import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson

from rm_core.types import Dialogue
from tests.fakes import FakeScorer, fake_reward

HEADERS = {"Content-Type": "application/x-ndjson"}


def lines(reply: Any) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in reply.content.splitlines()]


def item(response: str) -> bytes:
    return orjson.dumps({"prompt": "p", "response": response})


async def test_every_line_is_answered_by_a_line_in_order(service):
    body = b"\n".join(item(f"r{i}") for i in range(300))

    reply = await service.client.post("/score", content=body, headers=HEADERS)

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


async def test_a_body_of_any_size_streams_through_whatever_the_chunks(start):
    async def chunks() -> AsyncIterator[bytes]:
        body = b"\n".join(item(f"r{i}") for i in range(200))
        for start_at in range(0, len(body), 7):
            yield body[start_at : start_at + 7]

    async with start(max_body_bytes=1024, max_items=1) as service:
        found = lines(await service.client.post("/score", content=chunks(), headers=HEADERS))

    assert len(found) == 200
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
        body = b"\n".join(item(f"r{i}") for i in range(3))
        found = lines(await service.client.post("/score", content=body, headers=HEADERS))

    assert not any("error" in line for line in found)


async def test_a_client_resumes_by_telling_the_first_index(service):
    reply = await service.client.post("/score?first_index=7", content=item("a"), headers=HEADERS)

    assert lines(reply)[0]["index"] == 7
    bad = await service.client.post("/score?first_index=-1", content=item("a"), headers=HEADERS)
    assert bad.status_code == 422
    assert bad.json()["errors"][0]["code"] == "greater_than_equal"


async def test_an_empty_body_gives_an_empty_reply(service):
    reply = await service.client.post("/score", content=b"\n \n", headers=HEADERS)

    assert (reply.status_code, reply.content) == (200, b"")


async def test_a_dead_engine_is_an_error_line(start):
    scorer = FakeScorer()
    scorer.die = True
    async with start(scorer) as service:
        found = lines(await service.client.post("/score", content=item("a"), headers=HEADERS))

    assert found[0]["error"]["code"] == "engine_closed"
