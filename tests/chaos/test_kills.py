"""SIGKILL, of the store and of whole servers under load: nothing lost, nothing doubled.

Clients send again what was not answered, with their keys or, as trainers do, with the same bytes
alone.
"""

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx

from tests.chaos.conftest import Chaos

ROOT = Path(__file__).resolve().parents[2]
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
    """What a trainer's client does: the same bytes, and key, until there is an answer."""
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
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
        key = f"{number}/{step}" if number % 2 else ""
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
        if key:
            tally.replies[key] = (body, reply.content)
        tally.answered.put_nowait(key)
        step += 1


async def test_kills_under_load_leave_the_count_exact(tmp_path: Path, chaos: Chaos) -> None:
    tally, stop, chance = Tally(), asyncio.Event(), chaos.random("instants")
    num_kills = chaos.times(5, 200)
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
        for _ in range(num_kills):
            # at a random instant of a load that is known to flow
            for _ in range(NUM_WRITERS):
                await asyncio.wait_for(tally.answered.get(), 60)
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
    assert tally.retries >= num_kills, "the kills hit no request: the test shows nothing"


def kill_the_store(directory: Path, kind: str, num_random: int, num_each: int, seed: int) -> Any:
    """What `crash_worker` reports."""
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("crash_worker.py")),
            str(directory / "s.db"),
            kind,
            *map(str, (num_random, num_each, seed)),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=3600,
        check=True,
    )
    return json.loads(done.stdout)


def test_kills_of_the_store_at_any_instant_and_point_lose_and_double_nothing(
    tmp_path: Path, chaos: Chaos
) -> None:
    num_random, num_each = chaos.times((20, 1), (2000, 20))

    result = kill_the_store(tmp_path, "sound", num_random, num_each, chaos.seed)

    assert result["green"], result
    assert result["count"] == result["expected"]
    assert result["wal_replays"] > result["kills"] // 4


def test_the_same_checker_goes_red_if_the_ledger_row_is_outside_the_transaction(
    tmp_path: Path, chaos: Chaos
) -> None:
    result = kill_the_store(tmp_path, "outside", 10, 4, chaos.seed)

    assert not result["green"]
    assert result["count"] > result["expected"]
