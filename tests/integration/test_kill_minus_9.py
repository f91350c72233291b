"""A real server, killed by SIGKILL twenty times under load; its clients retry with their keys."""

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
NUM_KILLS = 20
NUM_WRITERS = 8
STREAM = "run"


class Server:
    """The process that is killed and started again; `up` is set while it serves."""

    def __init__(self, directory: Path, starter: asyncio.subprocess.Process) -> None:
        self._directory = directory
        self._starter = starter
        self._starts = 0
        self.up = asyncio.Event()
        self.base_url = ""

    @classmethod
    @contextlib.asynccontextmanager
    async def in_directory(cls, directory: Path) -> AsyncIterator["Server"]:
        starter = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "tests" / "integration" / "scripted_server.py"),
            str(directory / "state"),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            yield cls(directory, starter)
        finally:
            assert starter.stdin is not None
            starter.stdin.close()  # it ends its server, and then itself
            await starter.wait()

    async def start(self, client: httpx.AsyncClient) -> None:
        self._starts += 1
        port_file = self._directory / f"port-{self._starts}"
        self._say(f"start {port_file}")
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(OSError, ValueError, httpx.HTTPError):
                    url = f"http://127.0.0.1:{int(port_file.read_text())}"
                    if (await client.get(f"{url}/health/live")).status_code == 200:
                        break
                await asyncio.sleep(0.005)
        self.base_url = url
        self.up.set()

    async def kill(self) -> None:
        self.up.clear()
        self._say("kill")
        assert self._starter.stdout is not None
        assert await self._starter.stdout.readline() == b"gone\n"

    def _say(self, line: str) -> None:
        assert self._starter.stdin is not None
        self._starter.stdin.write(f"{line}\n".encode())


class Tally:
    """What the clients know: each reply's bytes by key, and the values of acknowledged items."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.unnamed: list[float] = []
        self.replies: dict[str, tuple[bytes, bytes]] = {}
        self.retries = 0
        self.replayed = 0
        self.answered: asyncio.Queue[str] = asyncio.Queue()


async def post_until_answered(
    client: httpx.AsyncClient, server: Server, tally: Tally, key: str, body: bytes
) -> httpx.Response:
    """What a trainer's client does: the same bytes with the same key until there is an answer."""
    headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
    while True:
        await server.up.wait()
        try:
            reply = await client.post(
                f"{server.base_url}/ppo_reward", content=body, headers=headers
            )
        except httpx.HTTPError:
            tally.retries += 1
            await asyncio.sleep(0.001)
        else:
            tally.replayed += "Idempotency-Replayed" in reply.headers
            return reply


async def writer(
    number: int, client: httpx.AsyncClient, server: Server, tally: Tally, stop: asyncio.Event
) -> None:
    chance = random.Random(number)
    step = 0
    while not stop.is_set():
        key = f"{number}/{step}"
        named = {f"{number}/{step}/{i}": chance.gauss(0.0, 2.0) for i in range(2)}
        if step and chance.random() < 0.5:  # an id that was sent before, with its own reward
            again = f"{number}/{chance.randrange(step)}/0"
            named[again] = tally.values[again]
        unnamed = [chance.gauss(1.0, 1.0)]
        items: list[dict[str, Any]] = [
            {"prompt": "p", "response": f"s=5 h={value!r}", "id": item}
            for item, value in named.items()
        ]
        items += [{"prompt": "p", "response": f"s=5 h={value!r}"} for value in unnamed]
        body = httpx.Request("POST", "http://x", json={"stream": STREAM, "items": items}).content
        reply = await post_until_answered(client, server, tally, key, body)
        assert reply.status_code == 200, reply.text
        tally.values.update(named)
        tally.unnamed += unnamed
        tally.replies[key] = (body, reply.content)
        tally.answered.put_nowait(key)
        step += 1


@pytest.mark.slow
async def test_twenty_kills_under_load_leave_the_count_exact(tmp_path: Path) -> None:
    tally, stop, chance = Tally(), asyncio.Event(), random.Random(9)
    async with (
        Server.in_directory(tmp_path) as server,
        httpx.AsyncClient(timeout=30.0) as client,
        asyncio.TaskGroup() as group,
    ):
        await server.start(client)
        writers = [
            group.create_task(writer(number, client, server, tally, stop))
            for number in range(NUM_WRITERS)
        ]
        for _ in range(NUM_KILLS):
            # at a random instant of a load that is known to flow
            for _ in range(NUM_WRITERS):
                await asyncio.wait_for(tally.answered.get(), 30)
            await asyncio.sleep(chance.uniform(0.0, 0.02))
            await server.kill()
            await server.start(client)
        stop.set()
        await asyncio.wait(writers)

        stream_url = f"{server.base_url}/streams/{STREAM}"
        found = (await client.get(stream_url)).json()
        for key, (body, first) in random.Random(1).sample(sorted(tally.replies.items()), 20):
            again = await post_until_answered(client, server, tally, key, body)
            assert again.content == first
            assert again.headers["Idempotency-Replayed"] == "true"
        assert (await client.get(stream_url)).json() == found

    values = [Fraction(value) for value in [*tally.values.values(), *tally.unnamed]]
    mean = sum(values) / len(values)
    m2 = sum((value - mean) ** 2 for value in values)
    assert found["num_samples"] == found["count"] == len(values)
    assert abs(Fraction(found["mean"]) - mean) <= Fraction(1, 10**12) * abs(mean)
    assert abs(Fraction(found["m2"]) - m2) <= Fraction(1, 10**12) * m2
    assert tally.retries >= NUM_KILLS, "the kills hit no request: the test shows nothing"
