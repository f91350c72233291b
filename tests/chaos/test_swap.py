"""Models are replaced under load: no request fails, and none has rewards of two versions."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.chaos.attacked import AttackedServer
from tests.chaos.conftest import Chaos, Launch
from tests.service.swap.loaders import checkpoint, digest_of

_CALLERS = 16
_RESPONSES = 6


@dataclass
class Load:
    """Callers who score one request after the other, and what was wrong with the replies.

    Attributes:
        url: of the server.
        seconds: how long each request took, by when it was answered.
        failed: statuses other than 200.
        mixed: replies whose rewards are not all of the version that the reply names.
        enough: set it to stop.
    """

    url: str
    seconds: list[tuple[float, float]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def go_on(self) -> None:
        async with (
            httpx.AsyncClient(base_url=self.url, timeout=60) as client,
            asyncio.TaskGroup() as tasks,
        ):
            for number in range(_CALLERS):
                tasks.create_task(self._caller(client, number))
            tasks.create_task(self._lines(client))

    async def _caller(self, client: httpx.AsyncClient, number: int) -> None:
        turn = 0
        while not self.enough.is_set():
            turn += 1
            responses = [f"{number} {turn} {index}" for index in range(_RESPONSES)]
            began = time.monotonic()
            reply = await client.post("/score", json={"prompt": "p", "responses": responses})
            now = time.monotonic()
            self.seconds.append((now, now - began))
            if reply.status_code != 200:
                self.failed.append(f"{reply.status_code} {reply.text}")
                continue
            rewards = {own["safety"]["reward"] for own in reply.json()["responses"]}
            self._check(rewards, reply.headers["X-Rewardd-Provenance"])

    async def _lines(self, client: httpx.AsyncClient) -> None:
        """One stream of lines that outlives the swaps; each line says whose it is."""

        async def lines() -> AsyncIterator[bytes]:
            number = 0
            while not self.enough.is_set():
                number += 1
                yield json.dumps({"prompt": "p", "response": f"line {number}"}).encode() + b"\n"
                await asyncio.sleep(0.01)

        headers = {"Content-Type": "application/x-ndjson"}
        async with client.stream("POST", "/score", content=lines(), headers=headers) as reply:
            told = reply.headers["X-Rewardd-Provenance"]
            async for line in reply.aiter_lines():
                found = json.loads(line)
                if "safety" not in found:
                    self.failed.append(line)
                    continue
                self._check({found["safety"]["reward"]}, found.get("provenance", told))

    def _check(self, rewards: set[float], provenance: str) -> None:
        if len(rewards) != 1 or f'safety="{digest_of(next(iter(rewards)))[:16]}"' not in provenance:
            self.mixed.append(f"{rewards} said to be of {provenance}")

    def slowest(self, begin: float, end: float) -> float:
        """The 99th percentile of what was answered between two moments."""
        own = sorted(taken for at, taken in self.seconds if begin <= at < end)
        return own[min(len(own) - 1, int(0.99 * len(own)))] if own else 0.0


def launched(launch: Launch, root: Path, **more: str) -> AttackedServer:
    for number, name in enumerate(("one", "two", "three"), 1):
        checkpoint(root, name, number)
    return launch(
        "tests.chaos.swapping_server",
        REWARDD_MODEL_ROOT=str(root),
        REWARDD_SAFETY_MODEL=str(root / "one"),
        REWARDD_HELPFULNESS_MODEL=str(root / "three"),
        FAKE_FORWARD_SECONDS="0.01",
        REWARDD_MAX_PACK_ITEMS="24",
        **more,
    )


async def swap_under_load(server: AttackedServer, swaps: int) -> tuple[Load, list[str]]:
    load, outcomes = Load(server.url), []
    task = asyncio.create_task(load.go_on())
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        await asyncio.sleep(0.3)
        began = time.monotonic()
        for number in range(swaps):
            body = {"model": ("two", "one")[number % 2], "shadow_items": 8, "shadow_seconds": 2}
            reply = await client.put("/admin/models/safety", json=body)
            outcomes.append(reply.json().get("outcome", reply.text))
        ended = time.monotonic()
        await asyncio.sleep(0.3)
    load.enough.set()
    await task
    before, during = load.slowest(0.0, began), load.slowest(began, ended)
    sys.stdout.write(
        f"{len(load.seconds)} requests, p99 {before * 1e3:.0f} ms before, {during * 1e3:.0f} ms\n"
    )
    return load, outcomes


async def test_no_request_fails_or_mixes_models_while_they_are_replaced(
    launch: Launch, tmp_path: Path, chaos: Chaos
) -> None:
    server = launched(launch, tmp_path / "models")
    swaps = chaos.times(6, 200)
    load, outcomes = await swap_under_load(server, swaps)

    assert outcomes == ["switched"] * swaps
    assert (load.failed[:3], load.mixed[:3]) == ([], [])
    assert len(load.seconds) > 50


async def test_packs_of_two_versions_would_be_seen(launch: Launch, tmp_path: Path) -> None:
    server = launched(launch, tmp_path / "models", SWAP_FAULT="inside_pack")
    for _ in range(5):
        load, _ = await swap_under_load(server, 6)
        if load.mixed:
            return
    pytest.fail("no reply was mixed though packs were")


async def test_a_hangup_under_load_loads_what_changed_on_the_disk(
    launch: Launch, tmp_path: Path
) -> None:
    server = launched(launch, tmp_path / "models")
    load = Load(server.url)
    task = asyncio.create_task(load.go_on())
    checkpoint(tmp_path / "models", "one", 9)
    os.kill(server.pid, signal.SIGHUP)
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client, asyncio.timeout(30):
        digest = ""
        while digest != digest_of(9):
            models = (await client.get("/admin/models")).json()["models"]
            digest = models["safety"]["digest"]
    load.enough.set()
    await task

    assert (load.failed[:3], load.mixed[:3]) == ([], [])
