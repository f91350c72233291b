"""Bodies as large as may be, and the event loop that goes on beside them."""

import asyncio
import json
import re

import httpx

from tests.chaos.attacked import AttackedServer
from tests.chaos.conftest import Chaos, Launch

BODY_BYTES = 8 * 2**20
ITEMS = 500
LARGE = json.dumps(
    {"items": [{"prompt": "p", "response": "x" * (BODY_BYTES // ITEMS - 60)}] * ITEMS}
).encode()
EMPTY_ARRAYS = b'{"items":[' + b"[]," * (BODY_BYTES // 3 - 10) + b"[]]}"
MANY = {"REWARDD_MAX_REQUEST_TOKENS": "8000000"}
BUCKET = re.compile(r'rm_event_loop_lag_seconds_bucket\{le="([\d.]+)"\} ([\d.]+)')


async def late(server: AttackedServer, seconds: float) -> int:
    """How often the loop woke a sleeper later than that."""
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        text = (await client.get("/metrics")).text
    counts = {float(edge): float(count) for edge, count in BUCKET.findall(text)}
    total = re.search(r"rm_event_loop_lag_seconds_count ([\d.]+)", text)
    assert total is not None
    return round(float(total[1]) - counts[seconds])


async def send(server: AttackedServer, body: bytes, count: int) -> set[int]:
    headers = {"Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=server.url, timeout=120, headers=headers) as client:
        replies = await asyncio.gather(*(client.post("/score", content=body) for _ in range(count)))
    return {reply.status_code for reply in replies}


async def test_large_bodies_and_full_batches_leave_the_loop_to_others(chaos: Chaos, launch: Launch):
    server = launch(**MANY)

    assert await send(server, LARGE, chaos.times(4, 100)) == {200}
    assert await send(server, EMPTY_ARRAYS, chaos.times(2, 50)) == {413}

    assert await late(server, 1.0) == 0


async def test_without_a_bound_on_containers_it_stands_still(launch: Launch):
    server = launch("tests.chaos.unguarded_server", UNGUARDED_CONTAINERS="yes")

    assert await send(server, EMPTY_ARRAYS, 2) == {413}  # by the number of items, once all are made

    assert await late(server, 0.1) > 0
