"""Floods beside polite callers, in simulated time: everyone gets his share, and none of it is luck.

Each attack has a control that takes the protection away, and then succeeds.
"""

import asyncio
import contextlib
import functools
import itertools
import math

import pytest

from service.batching.room import Room
from service.errors import QueueFull
from tests.chaos.conftest import Chaos
from tests.chaos.simulated import Simulation, again_and_again, simulate

_WINDOW = 64
"""Lines that an NDJSON stream has at work at a time."""


class Streams:
    """NDJSON streams of callers; `told_apart`: whether the queue knows whose and which they are."""

    def __init__(self, sim: Simulation, *, told_apart: bool = True) -> None:
        self.sim, self.told_apart = sim, told_apart
        self.numbers = itertools.count()

    async def send(self, caller: bytes, seconds: float, words: int = 9, late: float = 0.0) -> int:
        """Send lines without end; how many were answered."""
        await asyncio.sleep(late)
        number = next(self.numbers)
        score = functools.partial(
            self.sim.score,
            words,
            priority="bulk",
            waits=True,
            caller=caller if self.told_apart else b"",
            ndjson_stream=number if self.told_apart else None,
        )
        return await again_and_again(seconds - late, score, at_once=_WINDOW)


@pytest.mark.parametrize("told_apart", [True, False])
@pytest.mark.parametrize("places", [64, 16_384])
def test_a_polite_stream_beside_seventy_of_another_key_gets_its_half(
    chaos: Chaos, places: int, told_apart: bool
) -> None:
    seconds = chaos.times(10.0 if places == 64 else 5.0, 120.0)

    async def attack() -> list[int]:
        async with Simulation(max_queue_items=places) as sim:
            streams = Streams(sim, told_apart=told_apart)
            flood = [streams.send(b"flood", seconds) for _ in range(70)]
            return await asyncio.gather(*flood, streams.send(b"polite", seconds))

    *flood, polite = simulate(attack)
    share = polite / ((sum(flood) + polite) / 2)

    assert (share >= 0.9) is told_apart, f"{polite} of {sum(flood) + polite} lines"


@pytest.mark.parametrize("told_apart", [True, False])
@pytest.mark.parametrize("places", [64, 16_384])
def test_eight_streams_of_one_caller_go_on_evenly(
    chaos: Chaos, places: int, told_apart: bool
) -> None:
    """The first come with all their lines before the last; no line is longer than another."""
    seconds = chaos.times(10.0, 60.0)

    async def attack() -> list[int]:
        async with Simulation(max_queue_items=places, max_pack_items=8) as sim:
            sim.scorer.per_pack = 0.2
            streams = Streams(sim, told_apart=told_apart)
            return await asyncio.gather(
                *(streams.send(b"", seconds, late=0.1 * number) for number in range(8))
            )

    lines = simulate(attack)

    assert (min(lines) >= sum(lines) / len(lines) / 2) is told_apart, lines


async def interactive(
    sim: Simulation, caller: bytes, seconds: float, every: float, patience: float = 2.0
) -> tuple[list[float], int]:
    """A request now and then; how long each answer took, and how many were refused."""
    took, refused = [], 0
    while sim.now() < seconds:
        began = sim.now()
        try:
            await sim.score(caller=caller, patience=patience)
            took.append(sim.now() - began)
        except QueueFull:
            refused += 1
        await asyncio.sleep(max(0.0, began + every - sim.now()))
    return took, refused


@pytest.mark.parametrize("has_places", [True, False])
def test_one_stream_on_a_queue_of_64_takes_no_interactive_callers_place(
    chaos: Chaos, monkeypatch: pytest.MonkeyPatch, has_places: bool
) -> None:
    seconds = chaos.times(10.0, 60.0)
    if not has_places:
        monkeypatch.setattr(Room, "waiters_part", property(lambda self: self.capacity))
        monkeypatch.setattr(Room, "bulk_part", property(lambda self: self.capacity))

    async def attack() -> tuple[list[float], int]:
        async with Simulation(max_queue_items=64, max_pack_items=8) as sim:
            stream = asyncio.create_task(Streams(sim).send(b"", seconds))
            seen = await interactive(sim, b"", seconds, 0.1)
            await stream
            return seen

    took, refused = simulate(attack)

    assert (refused == 0) is has_places
    if has_places:
        assert max(took) <= 3 * (0.02 + 8 * 0.01) + 1e-6  # the present pack, bulk's turn, its own


async def flood(sim: Simulation, seconds: float, caller: bytes, rate: float) -> None:
    """Requests at a constant rate, whatever becomes of them."""

    async def one() -> None:
        with contextlib.suppress(QueueFull):
            await sim.score(caller=caller, patience=2.0)

    sent = []
    while sim.now() < seconds:
        sent.append(asyncio.create_task(one()))
        await asyncio.sleep(1 / rate)
    await asyncio.gather(*sent)


@pytest.mark.parametrize("told_apart", [True, False])
def test_a_flood_of_ten_times_the_capacity_leaves_another_key_its_answers_in_time(
    chaos: Chaos, told_apart: bool
) -> None:
    """p99 at most half as long again as beside a caller who sends what there is room for."""
    seconds = chaos.times(6.0, 120.0)
    capacity = 32 / (0.02 + 32 * 0.01)  # texts of 10 tokens, 1 ms each, in packs of 32

    async def attack(rate: float) -> tuple[list[float], int]:
        async with Simulation(max_queue_items=512) as sim:
            caller = b"flood" if told_apart else b""
            other = asyncio.create_task(flood(sim, seconds, caller, rate))
            seen = await interactive(sim, b"polite" if told_apart else b"", seconds, 0.25)
            await other
            return seen

    def p99(took: list[float]) -> float:
        return sorted(took)[math.ceil(0.99 * len(took)) - 1]

    took, refused = simulate(lambda: attack(10 * capacity))
    beside_one_who_fills_it, _ = simulate(lambda: attack(0.95 * capacity))
    unhurt = refused <= 1 and p99(took) <= 1.5 * p99(beside_one_who_fills_it)

    assert unhurt is told_apart, (refused, p99(took), p99(beside_one_who_fills_it))
