"""What the edge costs and withstands, in figures.

`python -m tests.chaos.measure_edge rates` asks the same fake server behind uvicorn's h11, uvicorn's
httptools and the edge, in turns. `… attacks` sends 200 MiB of each kind of hostile bytes and asks
/health/live meanwhile, each time on a new connection; `… control` does so without the edge.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.chaos.attacked import AttackedServer, attacked_server
from tests.chaos.raw_client import ITEM, post, raw_client
from tests.chaos.test_hostile_bytes import ATTACKS, GET, MIB, attack, reset_peak

CONNECTIONS = 8
ROUNDS = 5
SECONDS = 1.5
QUIET = {"REWARDD_LOG_LEVEL": "error"}
SERVERS = {
    "uvicorn's h11": ("tests.chaos.unguarded_server", {"UNGUARDED_PROTOCOL": "h11"}),
    "uvicorn's httptools": ("tests.chaos.unguarded_server", {}),
    "the edge": ("tests.integration.fake_server", {}),
}
REQUESTS = {
    "GET /health/live": GET + b"\r\n",
    "POST /score": post("/score", f"Content-Length: {len(ITEM)}") + ITEM,
}


@contextmanager
def server(module: str, environment: dict[str, str]) -> Iterator[AttackedServer]:
    with (
        tempfile.TemporaryDirectory() as directory,
        attacked_server(Path(directory), module, {**QUIET, **environment}) as started,
    ):
        yield started


def tell(*columns: str) -> None:
    sys.stdout.write(" | ".join(columns) + "\n")
    sys.stdout.flush()


async def ask_on(port: int, request: bytes, until: float) -> int:
    count = 0
    async with raw_client(port) as client:
        while time.monotonic() < until:
            await client.send(request)
            await client.read_reply()
            count += 1
    return count


async def requests_per_second(port: int, request: bytes) -> float:
    until = time.monotonic() + SECONDS
    counts = await asyncio.gather(*(ask_on(port, request, until) for _ in range(CONNECTIONS)))
    return sum(counts) / SECONDS


async def rates() -> None:
    own_core = os.sched_getaffinity(0)
    with ExitStack() as stack:
        started = {
            name: stack.enter_context(server(module, environment))
            for name, (module, environment) in SERVERS.items()
        }
        cores = sorted(own_core)
        for one in started.values():
            os.sched_setaffinity(one.pid, {cores[0]})
        os.sched_setaffinity(0, {cores[-1]})
        for kind, request in REQUESTS.items():
            found: dict[str, list[float]] = {name: [] for name in started}
            for _ in range(ROUNDS):
                for name, one in started.items():
                    found[name].append(await requests_per_second(one.port, request))
            for name, values in found.items():
                spread = f"{min(values):.0f} to {max(values):.0f}"
                tell(kind, name, f"{statistics.median(values):.0f}/s ({spread})")


async def asked_meanwhile(port: int, enough: asyncio.Event) -> list[float]:
    seconds = []
    while not enough.is_set():
        began = time.monotonic()
        async with raw_client(port) as client:
            await client.send(GET + b"\r\n")
            assert (await client.read_reply())[0] == 200
        seconds.append(time.monotonic() - began)
        await asyncio.sleep(0.005)
    return seconds


async def attacks(module: str) -> None:
    with server(module, {}) as attacked:
        for name in ("nothing, for two seconds", *ATTACKS):
            held = reset_peak(attacked)
            enough = asyncio.Event()
            asking = asyncio.create_task(asked_meanwhile(attacked.port, enough))
            began = time.monotonic()
            # In a thread of its own, or our own sending would be measured as its answering.
            status = 0
            if name in ATTACKS:
                status = await asyncio.to_thread(
                    lambda name=name: asyncio.run(attack(attacked.port, name, 200 * MIB))
                )
            else:
                await asyncio.sleep(2.0)
            took = time.monotonic() - began
            enough.set()
            grown = (attacked.peak_resident_bytes() - held) / MIB
            slowest = 1000 * max(await asking)
            tell(name, str(status), f"+{grown:.1f} MiB", f"{slowest:.0f} ms", f"{took:.1f} s")


if __name__ == "__main__":
    what = sys.argv[1]
    control = "tests.chaos.unguarded_server"
    module = control if what == "control" else "tests.integration.fake_server"
    asyncio.run(rates() if what == "rates" else attacks(module))
