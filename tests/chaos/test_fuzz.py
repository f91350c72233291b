"""Malformed input is never a server error, never hangs, and keeps nobody from an answer."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.chaos.attacked import AttackedServer
from tests.chaos.conftest import Chaos, Launch
from tests.chaos.mutations import Wire, examples, mutated

HERE = Path(__file__).parent
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
HANG_SECONDS = 2.0
AT_ONCE = 8
DELIBERATE = {501, 503, 504, 505}


def fuzz(
    server: AttackedServer, *, examples: int, seed: int, phases: str, path: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run schemathesis with all of its checks, valid and invalid data, NUL characters too."""
    command = [
        str(SCHEMATHESIS),
        f"--config-file={HERE / 'schemathesis.toml'}",
        "run",
        f"{server.url}/openapi.json",
        f"--max-examples={examples}",
        f"--seed={seed}",
        f"--phases={phases}",
        "--mode=all",
        "--generation-allow-x00=true",
        "--max-response-time=10",
        "--no-color",
        "--warnings=off",
    ]
    return subprocess.run(
        [*command, f"--include-path={path}"] if path else command,
        capture_output=True,
        text=True,
        check=False,
        cwd=server.log.parent,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
    )


@pytest.fixture
def schemathesis() -> None:
    if not SCHEMATHESIS.exists():
        pytest.skip("schemathesis is not installed beside this Python (make setup)")


@pytest.mark.usefixtures("schemathesis")
def test_requests_made_from_the_document_get_what_it_says(launch: Launch, chaos: Chaos) -> None:
    server = launch()

    # The phase of coverage takes half a minute.
    phases = chaos.times("examples,fuzzing", "examples,coverage,fuzzing,stateful")
    told = fuzz(server, examples=chaos.times(1, 200), seed=chaos.seed, phases=phases)

    assert told.returncode == 0, told.stdout[-6000:] + told.stderr[-2000:]
    assert "generated" in told.stdout


@pytest.mark.usefixtures("schemathesis")
def test_a_server_error_would_be_found(launch: Launch, chaos: Chaos) -> None:
    server = launch("tests.chaos.fragile_server")

    told = fuzz(server, examples=2, seed=chaos.seed, phases="coverage", path="/compare")

    assert told.returncode == 1
    assert "Server error" in told.stdout


async def answer(port: int, wire: Wire) -> int:
    """The status of the reply to a broken request; 0 where the server closed without one.

    Raises:
        TimeoutError: neither came.
    """
    async with asyncio.timeout(HANG_SECONDS + 8):  # generous: others may use the machine
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(wire.encoded())
            if writer.can_write_eof():
                writer.write_eof()
            first = await reader.readline()
            while await reader.read(65536):
                pass
        except ConnectionError:
            return 0
        finally:
            writer.close()
    parts = first.split(b" ")
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0


async def statuses(server: AttackedServer, chaos: Chaos, count: int) -> Counter[int]:
    """Send so many broken requests, several at once, and count what came back."""
    async with httpx.AsyncClient(base_url=server.url) as client:
        valid = examples((await client.get("/openapi.json")).json())
    rng = chaos.random("mutations")
    broken = (mutated(rng, rng.choice(valid)) for _ in range(count))
    found: Counter[int] = Counter()

    async def sender() -> None:
        for wire in broken:
            try:
                status = await answer(server.port, wire)
            except TimeoutError:
                raise AssertionError(f"no answer to {wire.encoded()[:2000]!r}") from None
            if status >= 500 and status not in DELIBERATE:
                raise AssertionError(f"{status} to {wire.encoded()[:4000]!r}")
            found[status] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(sender())
    return found


async def test_broken_bytes_get_an_answer_or_a_closed_connection(
    launch: Launch, chaos: Chaos
) -> None:
    server = launch()
    count = chaos.times(1500, 80_000)

    found = await statuses(server, chaos, count)

    assert sum(found.values()) == count
    assert {200, 400, 422} <= found.keys()  # the whole way in was tried
    async with httpx.AsyncClient(base_url=server.url) as client:
        assert (await client.get("/health/ready")).status_code == 200
        scored = await client.post("/score", json={"prompt": "p", "response": "r"})
        assert scored.status_code == 200
    assert "internal_error" not in server.log.read_text()


async def test_a_server_error_among_broken_bytes_would_be_found(
    launch: Launch, chaos: Chaos
) -> None:
    with pytest.raises(BaseExceptionGroup) as raised:
        await statuses(launch("tests.chaos.fragile_server"), chaos, 600)

    assert raised.group_contains(AssertionError, match="^500 to")
