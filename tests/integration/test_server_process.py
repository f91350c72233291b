"""The server as a process of its own: sockets, signals, many clients."""

import asyncio
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from rm_core.types import Dialogue
from tests.fakes import fake_reward
from tests.server_process import ServerProcess, server_process


class Server:
    def __init__(self, running: ServerProcess) -> None:
        self.process = running.process
        self.port = running.port
        self.url = running.url
        self._log = running.log

    def events(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self._log.read_bytes().splitlines()]

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


Launch = Callable[..., AbstractContextManager[Server]]


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """Start a server process: `with launch(REWARDD_MAX_ITEMS="3") as server`."""

    @contextmanager
    def running(**environment: str) -> Iterator[Server]:
        given = {**os.environ, "REWARDD_DRAIN_TIMEOUT_SECONDS": "20", **environment}
        command = "tests.integration.fake_server"
        with server_process(tmp_path, command, environment=given) as server:
            yield Server(server)

    return running


def check(result: dict[str, Any], prompt: str, response: str) -> None:
    for role in ("safety", "helpfulness"):
        assert result[role]["reward"] == fake_reward(role, Dialogue(prompt, response))


async def one_client(client: httpx.AsyncClient, number: int) -> int:
    """Mixed work of one client; every answer is checked."""
    rng = random.Random(number)
    answered = 0
    for turn in range(12):
        prompt, tag = f"prompt {number % 7}", f"{number}-{turn}"
        kind = rng.choice(["one", "many", "group", "compare", "bad", "ndjson"])
        responses = [f"{tag} {i} " + "word " * rng.randint(0, 60) for i in range(5)]
        if kind == "one":
            body = {"prompt": prompt, "response": responses[0]}
            check((await client.post("/score", json=body)).json(), prompt, responses[0])
        elif kind == "many":
            items: list[Any] = [{"prompt": prompt, "response": r} for r in responses]
            items.insert(2, {"prompt": prompt, "response": " "})
            found = (await client.post("/score", json={"items": items})).json()["items"]
            assert found.pop(2)["error"]["pointer"] == "/items/2/response"
            for result, response in zip(found, responses, strict=True):
                check(result, prompt, response)
        elif kind == "group":
            body = {"items": [{"prompt": prompt, "responses": responses}]}
            (group,) = (await client.post("/score", json=body)).json()["items"]
            for result, response in zip(group["responses"], responses, strict=True):
                check(result, prompt, response)
        elif kind == "compare":
            body = {"prompt": prompt, "responses": responses}
            found = (await client.post("/compare", json=body)).json()
            best = max(found["responses"], key=lambda r: r["selected_reward"])
            assert found["responses"][found["winner"]] == best
        elif kind == "bad":
            reply = await client.post(
                "/score", content=b'{"items": [NaN]}', headers={"Content-Type": "application/json"}
            )
            assert reply.status_code == 400
        else:
            lines = [orjson.dumps({"prompt": prompt, "response": r}) for r in responses]
            reply = await client.post(
                "/score",
                content=b"\n".join(lines),
                headers={"Content-Type": "application/x-ndjson"},
            )
            for line, response in zip(reply.content.splitlines(), responses, strict=True):
                check(orjson.loads(line), prompt, response)
        answered += 1
    return answered


async def test_sixty_four_concurrent_clients_with_mixed_work_get_every_answer_right(launch):
    with launch(FAKE_FORWARD_SECONDS="0.002") as server:
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as client:
            counts = await asyncio.gather(*[one_client(client, n) for n in range(64)])
            metrics = (await client.get("/metrics")).text

    assert sum(counts) == 64 * 12
    answered = sum(
        float(line.rsplit(" ", 1)[1])
        for line in metrics.splitlines()
        if line.startswith("rm_http_requests_total{") and '"POST"' in line
    )
    assert answered == 64 * 12
    assert "rm_queue_items 0.0" in metrics


async def test_sigterm_answers_every_accepted_request_and_exits_with_0(launch):
    with launch(FAKE_FORWARD_SECONDS="0.3", REWARDD_MAX_PACK_ITEMS="4") as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            sent = [
                asyncio.create_task(
                    client.post("/score", json={"prompt": "p", "response": f"r{i}"})
                )
                for i in range(24)
            ]
            await _until_in_flight(client, 24)
            server.terminate()
            ready = await _ready_until_refused(server)
            server.terminate()  # a second one changes nothing
            replies = await asyncio.gather(*sent)

        code = await asyncio.to_thread(server.process.wait, 20)

    assert ready[-1] == 503
    for i, reply in enumerate(replies):
        assert reply.status_code == 200
        check(reply.json(), "p", f"r{i}")
    assert code == 0
    assert {"draining", "stopped"} <= {event["event"] for event in server.events()}


async def _until_in_flight(client: httpx.AsyncClient, count: int) -> None:
    expected = f"rm_http_requests_in_flight {count + 1}.0"  # the scrape itself is in flight too
    while expected not in (await client.get("/metrics")).text:  # noqa: ASYNC110 (another process)
        await asyncio.sleep(0.01)


async def _ready_until_refused(server: Server) -> list[int]:
    statuses: list[int] = []
    while True:
        try:
            async with httpx.AsyncClient(base_url=server.url) as fresh:
                statuses.append((await fresh.get("/health/ready")).status_code)
        except httpx.TransportError:
            return statuses
        await asyncio.sleep(0.02)


async def test_the_drain_timeout_ends_what_does_not_end_and_says_so(launch):
    environment = {"FAKE_FORWARD_SECONDS": "4", "REWARDD_DRAIN_TIMEOUT_SECONDS": "1"}
    with launch(**environment, REWARDD_DRAIN_DELAY_SECONDS="0") as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            sent = asyncio.create_task(client.post("/score", json={"prompt": "p", "response": "r"}))
            await _until_in_flight(client, 1)
            server.terminate()
            await asyncio.gather(sent, return_exceptions=True)
        assert await asyncio.to_thread(server.process.wait, 20) == 1


async def test_a_hundred_megabytes_are_refused_at_once_and_the_server_goes_on(launch):
    with launch() as server:
        began = time.monotonic()
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
            declared = await client.post(
                "/score", content=b" " * 100_000_000, headers={"Content-Type": "application/json"}
            )
            assert time.monotonic() - began < 2.0

            async def chunks():
                for _ in range(100):
                    yield b" " * 1_000_000

            counted = await client.post(
                "/score", content=chunks(), headers={"Content-Type": "application/json"}
            )
            fine = await client.post("/score", json={"prompt": "p", "response": "r"})

    assert (declared.status_code, counted.status_code) == (413, 413)
    check(fine.json(), "p", "r")


async def test_clients_that_hang_up_leave_nothing_behind(launch):
    with launch(FAKE_FORWARD_SECONDS="1", REWARDD_MAX_PACK_ITEMS="1") as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            held = asyncio.create_task(
                client.post("/score", json={"prompt": "p", "response": "held"})
            )
            await _until_in_flight(client, 1)
            body = orjson.dumps({"prompt": "p", "response": "gone"})
            head = (
                "POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            ).encode()
            sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
            for connection in sockets:
                connection.sendall(head + body)
            await _until_in_flight(client, 51)
            for connection in sockets:
                connection.close()
            await _until_in_flight(client, 1)
            metrics = (await client.get("/metrics")).text
            await held

    assert "rm_queue_items 0.0" in metrics
    assert 'rm_http_aborted_total{reason="client_disconnect"} 50.0' in metrics


async def test_a_forged_host_header_changes_nothing(launch):
    key = {"REWARDD_API_KEYS": '["secret-key"]'}
    with launch(**key) as server:
        async with httpx.AsyncClient(base_url=server.url) as client:
            for host in ("x/health/live?", "x#", "/health/live", "health"):
                reply = await client.get("/v1/info", headers={"Host": host})
                assert reply.status_code in {400, 401}
            fine = await client.get("/v1/info", headers={"X-API-Key": "secret-key"})

        assert fine.status_code == 200
        assert not any("secret-key" in str(event) for event in server.events())


async def test_every_event_is_one_line_of_json_without_text(launch):
    with launch(REWARDD_LOG_LEVEL="debug") as server:
        async with httpx.AsyncClient(base_url=server.url) as client:
            await client.post("/score", json={"prompt": "canary", "response": "canary [error]"})
            await client.post("/score", json={"prompt": "canary", "response": "[encode-error]"})
            await client.get("/canary%0a%1b[31m", headers={"X-Request-ID": "bad id"})
        events = server.events()

    assert "canary" not in str(events)
    assert {"forward_failed", "tokenizing_failed", "request"} <= {e["event"] for e in events}
