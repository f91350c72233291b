"""More than the device can do: refused exactly, at once, and nothing of it done in vain."""

import asyncio
import math
import random
from collections import Counter

import pytest

from service.batching.admission import Admission
from service.batching.pack_runner import PackRunner
from service.batching.queue import Entry
from service.batching.scheduler import Scheduler
from service.errors import DeadlineExceeded, QueueFull
from tests.chaos.conftest import Chaos
from tests.chaos.simulated import Simulation, simulate

CAPACITY = 32 / (0.02 + 32 * 0.01)
"""Texts a second of the simulated device: 10 tokens each, 1 ms a token, packs of 32."""


class Offered:
    """What was sent in a time, and what became of it."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.waits: list[float] = []

    async def send(
        self,
        sim: Simulation,
        chance: random.Random,
        until: float,
        rate: float,
        *,
        patience: float,
        leaves_after: float = math.inf,
    ) -> None:
        """Requests that come by chance, so many a second, whatever becomes of the others."""

        async def one() -> None:
            began = sim.now()
            try:
                async with asyncio.timeout(None if leaves_after == math.inf else leaves_after):
                    await sim.score(patience=patience)
            except QueueFull:
                self.outcomes["refused"] += 1
            except TimeoutError:
                self.outcomes["aborted"] += 1
            else:
                self.outcomes["answered"] += 1
                self.waits.append(sim.now() - began)

        sent = []
        while sim.now() < until:
            self.outcomes["offered"] += 1
            sent.append(asyncio.create_task(one()))
            await asyncio.sleep(chance.expovariate(rate))
        await asyncio.gather(*sent)


@pytest.mark.parametrize("priority", ["interactive", "bulk"])
def test_of_k_and_a_hundred_more_exactly_k_are_accepted(chaos: Chaos, priority: str) -> None:
    """Each time with another K; of bulk work seven eighths, as the rest is for interactive work."""
    chance = chaos.random(priority)

    async def attack(places: int) -> Counter[str]:
        async with Simulation(max_queue_items=places) as sim:
            tasks = [asyncio.create_task(sim.score(priority=priority)) for _ in range(places + 100)]
            results = await asyncio.gather(*tasks, return_exceptions=True)
            return Counter(type(result).__name__ for result in results)

    for _ in range(chaos.times(4, 50)):
        places = chance.randrange(1, 60)
        accepted = places if priority == "interactive" else places - places // 8
        found = simulate(lambda places=places: attack(places))
        assert found == {"NoneType": accepted, "QueueFull": places + 100 - accepted}


@pytest.mark.parametrize("protected", [True, False])
def test_ten_times_the_capacity_is_answered_as_far_as_there_is_capacity(
    chaos: Chaos, monkeypatch: pytest.MonkeyPatch, protected: bool
) -> None:
    """Callers leave after a second. Unprotected: no bound, and their texts are scored still."""
    seconds = chaos.times(3.0, 60.0) if protected else 2.5
    if not protected:
        monkeypatch.setattr(Scheduler, "_drop", lambda *_: None)
        monkeypatch.setattr(PackRunner, "_still_wanted", lambda _, part: part)
        monkeypatch.setattr(Admission, "wait_seconds", lambda *_: 0.0)

    async def attack() -> tuple[Offered, Offered]:
        bound = 16_384 if protected else 10**6
        async with Simulation(max_queue_items=bound, max_queue_tokens=10**9) as sim:
            flood, after = Offered(), Offered()
            patience = 0.5 if protected else math.inf
            chance = chaos.random("arrivals")
            await flood.send(
                sim, chance, seconds, 10 * CAPACITY, patience=patience, leaves_after=1.0
            )
            recovered = sim.now() + 5.0
            await asyncio.sleep(5.0)
            until = recovered + 3.0
            await after.send(
                sim, chance, until, 0.5 * CAPACITY, patience=patience, leaves_after=1.0
            )
            return flood, after

    flood, after = simulate(attack)
    counted = flood.outcomes
    assert counted["offered"] == counted["answered"] + counted["refused"] + counted["aborted"]
    goodput = counted["answered"] / (seconds * CAPACITY)
    assert (goodput >= 0.9) is protected, counted
    if protected:
        assert max(flood.waits) <= 0.5 + 2 * (0.02 + 32 * 0.01) + 1e-6
        assert after.outcomes["refused"] == after.outcomes["aborted"] == 0
        assert max(after.waits) <= 3 * (0.02 + 32 * 0.01)


@pytest.mark.parametrize("protected", [True, False])
def test_expired_work_never_runs(monkeypatch: pytest.MonkeyPatch, protected: bool) -> None:
    """A thousand requests with 50 ms behind a pack of a second."""
    if not protected:
        monkeypatch.setattr(Scheduler, "_drop", lambda *_: None)
        monkeypatch.setattr(PackRunner, "_still_wanted", _wanted_by_anyone)

    async def attack() -> tuple[int, float, list[object]]:
        async with Simulation() as sim:
            sim.scorer.per_pack = 1.0
            first = asyncio.create_task(sim.score())
            await asyncio.sleep(0.01)
            deadline = sim.now() + 0.05
            late = [asyncio.create_task(sim.score(deadline=deadline)) for _ in range(999)]
            told = await asyncio.gather(*late, return_exceptions=True)
            when = sim.now() - deadline
            await first
            await sim.score()
            return sum(map(len, sim.scorer.forwards)), when, list(told)

    ran, when, told = simulate(attack)

    assert all(isinstance(one, DeadlineExceeded) for one in told)
    assert when <= 0.01
    assert (ran == 2) is protected


def _wanted_by_anyone(_: PackRunner, part: list[Entry]) -> list[Entry]:
    return part
