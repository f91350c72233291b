"""Ten times what a real process can do, over real sockets: refused at once, and every one counted.

The flood comes from the test's own process by bare sockets, when it is due; see `OpenLoop`.
"""

import asyncio
import math
import re
import sys
from collections import Counter

import httpx

from tests.chaos.attacked import AttackedServer
from tests.chaos.conftest import Chaos, Launch
from tests.chaos.open_loop import ABORTED, OpenLoop, Tally, percentile

PACK_ITEMS, PACK_SECONDS = 2, 0.2
PATIENCE_SECONDS = 0.6
LEAVES_AFTER_SECONDS = 0.2
"""Of a tenth of the callers. Whoever isn't refused by then is still in the queue, which is full."""

_SERVER = {
    "FAKE_FORWARD_SECONDS": str(PACK_SECONDS),
    "REWARDD_MAX_PACK_ITEMS": str(PACK_ITEMS),
    "REWARDD_MAX_QUEUE_WAIT_SECONDS": str(PATIENCE_SECONDS),
    "REWARDD_MAX_QUEUE_ITEMS": "64",
    "REWARDD_MAX_ITEMS": "64",
}


async def test_ten_times_the_capacity_of_a_server_process(chaos: Chaos, launch: Launch) -> None:
    """Every request has one outcome, which both sides count alike; soon after all is as before."""
    server = launch(**_SERVER)
    seconds = chaos.times(2.0, 60.0)
    leaving = chaos.random("leaving")

    def leaves_after() -> float:
        return LEAVES_AFTER_SECONDS if leaving.random() < 0.1 else math.inf

    client = OpenLoop(server.port)
    capacity, before = await client.saturate(2 * PACK_ITEMS, chaos.times(0.8, 5.0))
    resident, used = server.resident_bytes(), server.cpu_seconds()
    alive = asyncio.create_task(client.look("/health/live", seconds))
    flood = await client.offer(
        10 * capacity, seconds, chaos.random("flood"), leaves_after=leaves_after
    )
    grown, used = server.resident_bytes() - resident, server.cpu_seconds() - used
    await asyncio.sleep(chaos.times(0.2, 3.0))  # 5 s with those who waited to the last
    after = await client.offer(0.3 * capacity, chaos.times(0.5, 5.0), chaos.random("after"))
    live = await alive
    counted = await _counted(server)
    client.close()

    _tell(capacity, seconds, flood, live, grown, used)
    outcomes = flood.outcomes
    assert flood.offered == sum(outcomes.values())
    assert set(outcomes) == {200, 429, ABORTED}
    assert set(after.outcomes) == {200}
    assert counted == before.outcomes + outcomes + after.outcomes
    assert len(flood.retry_after) == outcomes[429]
    assert min(flood.retry_after) >= 1
    assert set(live.outcomes) == {200}
    assert grown <= 50 * 1024 * 1024
    # Loosely here, where other tests run beside; `make chaos` is the measurement.
    assert _goodput(flood, capacity, seconds) >= chaos.times(0.4, 0.9)
    assert flood.percentile(429, 0.99) <= chaos.times(2.0, 0.05)
    if chaos.full:
        assert flood.percentile(200, 0.99) <= PATIENCE_SECONDS + 2 * PACK_ITEMS / capacity
        assert live.percentile(200, 0.99) <= 0.1
        assert after.percentile(200, 1.0) <= 3 * PACK_ITEMS / capacity


async def test_without_bounds_most_of_a_flood_waits_in_vain(chaos: Chaos, launch: Launch) -> None:
    """The control: with room for everyone nobody is refused, and whoever leaves has got nothing."""
    unbounded = {"REWARDD_MAX_QUEUE_WAIT_SECONDS": "3600", "REWARDD_MAX_QUEUE_ITEMS": "16384"}
    server = launch(**_SERVER | unbounded)

    client = OpenLoop(server.port)
    flood = await client.offer(
        100.0, 1.0, chaos.random("flood"), leaves_after=lambda: PATIENCE_SECONDS
    )
    client.close()

    assert flood.outcomes[429] == 0
    assert flood.outcomes[ABORTED] >= 0.5 * flood.offered


def _goodput(flood: Tally, capacity: float, seconds: float) -> float:
    """What was answered as a share of what could be, also of the last ones' wait."""
    return flood.outcomes[200] / (capacity * (seconds + PATIENCE_SECONDS))


async def _counted(server: AttackedServer) -> Counter[int]:
    """The outcomes of /score as the server counts them."""
    async with httpx.AsyncClient(timeout=30) as client:
        metrics = (await client.get(f"{server.url}/metrics")).text
    by_code = re.findall(r"^rm_http_requests_total\{([^}]*)\} (\S+)$", metrics, re.MULTILINE)
    found: Counter[int] = Counter()
    for labels, value in by_code:
        if 'route="/score"' in labels and (code := re.search(r'code="(\d+)"', labels)):
            found[int(code[1])] += int(float(value))
    left = re.search(
        r'^rm_http_aborted_total\{reason="client_disconnect"\} (\S+)$', metrics, re.MULTILINE
    )
    assert left is not None
    found[ABORTED] += int(float(left[1]))
    return found


def _tell(
    capacity: float, seconds: float, flood: Tally, live: Tally, grown: int, used: float
) -> None:
    def milliseconds(times: list[float]) -> str:
        return "/".join(f"{1000 * percentile(times, share):.0f}" for share in (0.5, 0.99, 1.0))

    sys.stdout.write(
        f"capacity {capacity:.1f} a second; offered {flood.offered} in {seconds:.0f} s: "
        f"{dict(flood.outcomes)}; goodput {_goodput(flood, capacity, seconds):.2f}; "
        f"p50/p99/most ms: refused {milliseconds(flood.seconds[429])}, "
        f"answered {milliseconds(flood.seconds[200])}, live {milliseconds(live.seconds[200])}, "
        f"sent late {milliseconds(flood.late)}; memory +{grown / 2**20:.1f} MiB; "
        f"{1000 * used / flood.offered:.1f} ms of a processor a request\n"
    )
