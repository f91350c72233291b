"""The next pack is planned beside the present one, by the scorer that will run it."""

import asyncio

from tests.fakes import FakeScorer
from tests.service.rig import Rig, right, until


async def test_the_next_pack_is_planned_while_the_device_works() -> None:
    async with Rig(max_pack_items=3) as rig:
        async with rig.holding(prompt="x"):
            waiting = rig.send("a", "b", "c", "d")
            await until(lambda: rig.scorer.planned)
            planned_while_held = list(rig.scorer.planned)
        right(await waiting, "a", "b", "c", "d")

    assert planned_while_held == [["a", "b", "c"]]
    assert rig.scorer.forwards == [["held"], ["a", "b", "c"], ["d"]]


async def test_a_pack_is_planned_by_the_scorer_that_its_requests_came_to() -> None:
    old, new = FakeScorer(), FakeScorer()
    async with Rig(scorer=old, max_pack_items=2) as rig:
        old.gate.clear()
        held = rig.send("held")
        await asyncio.to_thread(old.begun.wait, 10)
        rig.scheduler.replace(new)
        waiting = rig.send("a", "b", "c")
        await until(lambda: new.planned)
        old.gate.set()
        right(await held, "held")
        right(await waiting, "a", "b", "c")

    assert (old.planned, new.planned[0]) == ([], ["a", "b"])
