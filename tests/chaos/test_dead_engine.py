"""A dead or hung engine ends the process, in time and with answers; a healthy one is left alone."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from service.watchdog.last_resort import GRACE_SECONDS
from service.watchdog.limits import FLOOR_SECONDS
from service.watchdog.watchdog import EXIT_CODE
from tests.chaos.attacked import AttackedServer
from tests.chaos.conftest import Chaos, Launch

LIMIT = 1.0
MODULE = "tests.chaos.dying_server"
BUSY = (sys.executable, "-c", "while True: pass")
LIMITS = {
    "REWARDD_FORWARD_TIMEOUT_SECONDS": str(LIMIT),
    "REWARDD_TOKENIZE_TIMEOUT_SECONDS": str(LIMIT),
    # One text a pack, so that a text waits behind the one that hangs.
    "REWARDD_MAX_PACK_ITEMS": "1",
}
# What it is said to have ended of, and the seconds that a forward may take.
ORDERLY = {
    "[hang]": ("forward in thread rewardd-device has not ended", 3.0),
    "[spin]": ("forward in thread rewardd-device has not ended", 3.0),
    "[hang-encode]": ("tokenize in thread rewardd-tokenize", 3.0),
    "[die]": ("the device thread has ended", 30.0),
    "[pump]": ("the task that feeds the device has ended", 30.0),
}


@dataclass
class Reply:
    status: int
    seconds: float


async def ask(client: httpx.AsyncClient, response: str) -> Reply:
    """One request, and how long it took; status 0 where the connection ended instead."""
    began = time.monotonic()
    try:
        reply = await client.post("/score", json={"prompt": "p", "response": response})
    except httpx.TransportError:
        return Reply(0, time.monotonic() - began)
    return Reply(reply.status_code, time.monotonic() - began)


async def ask_all(
    server: AttackedServer, responses: Sequence[str], gate: Path | None = None
) -> list[Reply]:
    """Ask for one after the other; the first is begun once all wait, if there is a gate for it."""
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        assert (await ask(client, "well")).status == 200
        asked = []
        if gate is not None:
            gate.touch()  # noqa: ASYNC240
            asked.append(asyncio.create_task(ask(client, "[gate]")))
        for response in responses:
            asked.append(asyncio.create_task(ask(client, response)))
            await asyncio.sleep(0.05)
        if gate is not None:
            async with asyncio.timeout(20):
                expected = f"rm_http_requests_in_flight {len(asked) + 1}.0"  # the scrape is one
                while expected not in (await client.get("/metrics")).text:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            gate.unlink()  # noqa: ASYNC240
            assert (await asked.pop(0)).status == 200
        return await asyncio.gather(*asked)


async def exit_code(server: AttackedServer) -> int:
    return await asyncio.to_thread(server.process.wait, 60)


def events(server: AttackedServer) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in server.log.read_bytes().splitlines()]


async def health(server: AttackedServer, which: str) -> list[int]:
    """What is told of the process until it ends."""
    statuses: list[int] = []
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        while True:
            try:
                statuses.append((await client.get(f"/health/{which}")).status_code)
            except httpx.TransportError:
                return statuses
            await asyncio.sleep(0.03)


async def end_in_order(server: AttackedServer, how: str, gate: Path | None) -> None:
    cause, limit = ORDERLY[how]
    began = time.monotonic()

    healths = [asyncio.create_task(health(server, path)) for path in ("ready", "live")]
    replies = await ask_all(server, [how, "waits", "waits too"], gate)
    code = await exit_code(server)
    ended = time.monotonic() - began

    assert code == EXIT_CODE
    assert ended < limit + 10 + (20 if gate else 0)
    # The other tokenizer thread goes on while one hangs.
    others = 200 if how == "[hang-encode]" else 503
    assert [reply.status for reply in replies] == [503, others, others]
    assert max(reply.seconds for reply in replies) < limit + 5
    for told in await asyncio.gather(*healths):  # once it was told, nobody heard anything else
        assert 200 not in told[told.index(503) :] if 503 in told else set(told) == {200}
    (dead,) = [event for event in events(server) if event["event"] == "engine_dead"]
    assert cause in dead["cause"]
    assert dead["exit_code"] == EXIT_CODE
    assert any(name.startswith("MainThread") for name in dead["stacks"])
    if how.startswith("[hang"):
        assert any("__main__:hang:" in " ".join(frames) for frames in dead["stacks"].values())


async def test_who_waits_is_answered_and_the_process_ends(
    launch: Launch, chaos: Chaos, tmp_path: Path
) -> None:
    hows = chaos.times(["[hang]", "[hang-encode]", "[die]", "[pump]"], list(ORDERLY))
    async with asyncio.TaskGroup() as group:
        for how in hows:
            _, limit = ORDERLY[how]
            gate = tmp_path / f"gate {how}" if how in {"[die]", "[pump]"} else None
            limits = {
                **LIMITS,
                "REWARDD_FORWARD_TIMEOUT_SECONDS": str(limit),
                "REWARDD_TOKENIZE_TIMEOUT_SECONDS": str(limit),
                "DYING_GATE": str(gate),
            }
            server = await asyncio.to_thread(launch, MODULE, **limits)
            group.create_task(end_in_order(server, how, gate))


async def end_without_python(server: AttackedServer, how: str) -> None:
    began = time.monotonic()

    replies = await ask_all(server, [how])
    code = await exit_code(server)

    assert code == 1
    assert time.monotonic() - began < LIMIT + 10
    assert [reply.status for reply in replies] == [0]
    log = server.log.read_text()
    assert "Timeout (" in log
    assert "in hold" in log


async def test_where_no_python_runs_the_process_ends_all_the_same(
    launch: Launch, chaos: Chaos
) -> None:
    hows = chaos.times(["[hold]"], ["[hold]", "[hold-encode]"])
    servers = {how: launch(MODULE, **LIMITS) for how in hows}

    await asyncio.gather(*[end_without_python(server, how) for how, server in servers.items()])


async def wait_for_ever(server: AttackedServer, how: str, seconds: float) -> None:
    asking = asyncio.create_task(ask_all(server, [how]))
    await asyncio.wait([asking], timeout=seconds)

    assert not asking.done()
    assert server.process.poll() is None
    if how != "[hold]":
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
            reply = await client.get("/health/live")
        assert (reply.status_code, reply.json()["code"]) == (503, "not_alive")
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_without_the_watchdog_callers_wait_for_ever(launch: Launch, chaos: Chaos) -> None:
    hows = chaos.times(["[hang]", "[hold]"], ["[hang]", "[hang-encode]", "[hold]", "[hold-encode]"])
    servers = {how: launch(MODULE, **LIMITS, REWARDD_WATCHDOG="false") for how in hows}
    seconds = LIMIT + chaos.times(2.0, GRACE_SECONDS + 15.0)

    await asyncio.gather(*[wait_for_ever(server, how, seconds) for how, server in servers.items()])


async def stop(server: AttackedServer, seconds: float) -> None:
    """As a container that is paused, or a machine that its host moves."""
    server.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    server.process.send_signal(signal.SIGCONT)


async def test_a_process_that_was_stopped_for_longer_than_its_limit_goes_on(
    launch: Launch, chaos: Chaos
) -> None:
    limits = {**LIMITS, "REWARDD_FORWARD_TIMEOUT_SECONDS": "2.5"}
    server = launch(MODULE, **limits)

    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        for _ in range(chaos.times(1, 5)):
            asking = asyncio.create_task(ask(client, "[slow]"))
            await asyncio.sleep(0.3)
            await stop(server, 3.0)
            assert (await asking).status == 200

            # While nothing runs no timer stands, and it may last as long as one likes.
            await stop(server, chaos.times(0.2, 2.5 + GRACE_SECONDS + 2.0))
            assert (await ask(client, "after")).status == 200
        assert (await client.get("/health/live")).status_code == 200


async def test_packs_within_their_limit_are_left_alone_one_after_the_other(
    launch: Launch, chaos: Chaos
) -> None:
    """Their limits begin anew with each; a timer that one left behind would end the next."""
    limits = {**LIMITS, "REWARDD_FORWARD_TIMEOUT_SECONDS": "1.9"}
    server = launch(MODULE, **limits)
    count = chaos.times(2, 20)

    replies = await ask_all(server, ["[slow]"] * count)

    assert [reply.status for reply in replies] == [200] * count
    assert server.process.poll() is None


async def test_the_limit_that_is_learned_is_half_a_minute_for_quick_packs(
    launch: Launch, chaos: Chaos
) -> None:
    if not chaos.full:
        pytest.skip("takes the half minute; tests/service/watchdog/test_limits.py reckons it")
    server = launch(MODULE)
    began = time.monotonic()

    replies = await ask_all(server, ["[hang]"])

    assert await exit_code(server) == EXIT_CODE
    assert [reply.status for reply in replies] == [503]
    assert FLOOR_SECONDS < time.monotonic() - began < FLOOR_SECONDS + 15


async def test_a_machine_with_too_much_to_do_loses_no_process(launch: Launch, chaos: Chaos) -> None:
    """Packs whose threads hardly get a processor, beside a limit that is learned."""
    if not chaos.full:
        pytest.skip("takes all cores for half a minute")
    server = launch(MODULE)
    busy = [subprocess.Popen(BUSY) for _ in range(16)]  # noqa: ASYNC220
    try:
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up:
            assert [reply.status for reply in await ask_all(server, ["[slow]"])] == [200]
    finally:
        for process in busy:
            process.kill()
            process.wait(10)
    assert server.process.poll() is None
