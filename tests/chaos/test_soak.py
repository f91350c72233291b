"""After any number of mixed requests memory, descriptors and threads are where they were."""

import asyncio
import json
import random
import re
from collections import Counter

import httpx

from tests.chaos.attacked import AttackedServer
from tests.chaos.conftest import Chaos, Launch
from tests.chaos.raw_client import RawClient, post, raw_client
from tests.service.rig import until

MIB = 2**20
AT_ONCE = 8
PER_CONNECTION = 50
COUNTED = re.compile(r'rm_http_requests_total\{code="(\d+)",[^}]*\} ([\d.e+]+)')


def request(rng: random.Random, number: int) -> bytes:
    """A request by weights: most are scored, some count a sample, some are refused."""
    text = " ".join(["word"] * rng.randint(1, 40))
    item = {"prompt": f"p{rng.randrange(50)}", "response": f"{number} {text}"}
    path, headers, content = "/score", (), json.dumps(item).encode()
    match rng.choices(
        ("score", "group", "count", "item", "json", "path", "form"), (6, 1, 1, 1, 1, 1, 1)
    )[0]:
        case "group":
            content = json.dumps(
                {"items": [item | {"response": f"{number}-{i}"} for i in range(4)]}
            ).encode()
        case "count":
            path, headers = "/ppo_reward", (f"Idempotency-Key: {rng.randrange(10**9)}",)
            content = json.dumps(
                {"stream": "soak", "whiten": {"mode": "running"}, "items": [item]}
            ).encode()
        case "item":
            content = json.dumps(item | {"response": " "}).encode()
        case "json":
            content = content[: rng.randrange(1, len(content))]
        case "path":
            path = "/nowhere"
        case "form":
            headers = ("Content-Encoding: br",)
    return post(path, *headers, f"Content-Length: {len(content)}") + content


async def one_connection(port: int, rng: random.Random, first: int, found: Counter[int]) -> None:
    async with raw_client(port) as client:
        for number in range(first, first + PER_CONNECTION):
            whole = request(rng, number)
            if rng.random() < 0.1:  # a retry of the same bytes
                found[await answered(client, whole)] += 1
            found[await answered(client, whole)] += 1
    if rng.random() < 0.5:  # and one that leaves in the middle: nobody has a status of it
        async with raw_client(port) as client:
            part = post("/score", "Content-Length: 100") + b'{"prompt":'
            await client.send(part[: rng.randrange(1, len(part))])
            client.abort()


async def answered(client: RawClient, whole: bytes) -> int:
    async with asyncio.timeout(60):
        await client.send(whole)
        status, _ = await client.read_reply()
    return status


async def soak(server: AttackedServer, chaos: Chaos, count: int) -> Counter[int]:
    """Send some `count` requests, and count the replies by status."""
    found: Counter[int] = Counter()
    connections = iter(range(0, count, PER_CONNECTION))

    async def client() -> None:
        for first in connections:
            await one_connection(server.port, chaos.random("soak", first), first, found)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(client())
    return found


async def grown_in_second_half(server: AttackedServer, chaos: Chaos, count: int) -> int:
    """How many bytes more the process holds after the second half of so many requests."""
    await soak(server, chaos, count // 2)
    held = server.resident_bytes()
    await soak(server, chaos, count // 2)
    return server.resident_bytes() - held


async def test_nothing_stays_of_any_number_of_mixed_requests(launch: Launch, chaos: Chaos) -> None:
    server = launch()
    count = chaos.times(1200, 100_000)
    found = await soak(server, chaos, count)
    held, files, threads = server.resident_bytes(), server.num_open_files(), server.num_threads()

    found += await soak(server, chaos, count)

    assert server.resident_bytes() - held <= 10 * MIB
    await until(lambda: server.num_open_files() <= files + 2)  # ends may still be on their way
    assert abs(server.num_threads() - threads) <= 2
    async with httpx.AsyncClient(base_url=server.url) as client:
        told = (await client.get("/metrics")).text
    by_code: Counter[int] = Counter()
    for code, value in COUNTED.findall(told):
        by_code[int(code)] += int(float(value))
    assert {200, 400, 404, 415, 422} <= found.keys()
    assert {code: by_code[code] for code in found} == dict(found)
    assert not [code for code in by_code if code >= 500]


async def test_a_server_that_forgets_nothing_would_be_found(launch: Launch, chaos: Chaos) -> None:
    server = launch("tests.chaos.hoarding_server")

    assert await grown_in_second_half(server, chaos, 1200) > 10 * MIB
