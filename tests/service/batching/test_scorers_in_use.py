"""A scorer that is replaced answers those who came to it, in packs of its own, and is let go."""

import asyncio
from collections.abc import Sequence

from rm_core.rewards.rule import ScoredItem
from rm_core.types import EncodedItem, ItemRewards
from tests.fakes import FakeScorer
from tests.service.rig import Rig, until


class Constant(FakeScorer):
    """Gives every text the same reward."""

    def __init__(self, reward: float) -> None:
        super().__init__()
        self.reward = reward

    def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
        return [dict.fromkeys(found, (self.reward,)) for found in super().forward(items)]


def rewards(outcomes: Sequence[object]) -> set[float]:
    return {
        reward
        for outcome in outcomes
        for reward in (outcome.rewards.values() if isinstance(outcome, ScoredItem) else [0.0])
    }


async def test_who_came_before_keeps_the_old_scorer_and_no_pack_mixes_the_two() -> None:
    old, new = Constant(1.0), Constant(2.0)
    async with Rig(scorer=old) as rig:
        old.gate.clear()
        held = rig.send("held")
        await asyncio.to_thread(old.begun.wait, 10)
        before = rig.send("a", "b", "c")
        await rig.until_queued(3)
        rig.scheduler.replace(new)
        after = rig.send("d", "e", "f")
        await rig.until_queued(6)
        old.gate.set()

        found = [rewards(await sent) for sent in (held, before, after)]

    assert found == [{1.0}, {1.0}, {2.0}]
    assert (old.forwards, new.forwards) == ([["held"], ["a", "b", "c"]], [["d", "e", "f"]])


async def test_a_large_request_that_is_fed_in_parts_keeps_its_scorer_to_the_end() -> None:
    old, new = Constant(1.0), Constant(2.0)
    async with Rig(scorer=old, max_queue_items=4) as rig:
        old.gate.clear()
        large = rig.send(*[f"text {number}" for number in range(40)], waits=True, priority="bulk")
        await asyncio.to_thread(old.begun.wait, 10)
        rig.scheduler.replace(new)
        old.gate.set()

        assert rewards(await large) == {1.0}
        assert new.forwards == []


async def test_interactive_callers_of_the_new_scorer_do_not_wait_for_bulk_work_of_the_old() -> None:
    old, new = Constant(1.0), Constant(2.0)
    async with Rig(scorer=old, max_pack_items=1) as rig:
        old.gate.clear()
        held = rig.send("held")
        await asyncio.to_thread(old.begun.wait, 10)
        bulk = rig.send(*[f"bulk {number}" for number in range(8)], priority="bulk")
        await rig.until_queued(8)
        rig.scheduler.replace(new)
        quick = rig.send("quick")
        await rig.until_queued(9)
        old.gate.set()

        await asyncio.wait({quick, bulk}, return_when=asyncio.FIRST_COMPLETED)
        assert quick.done()
        assert not bulk.done()
        assert [rewards(await sent) for sent in (held, quick, bulk)] == [{1.0}, {2.0}, {1.0}]


async def test_the_old_scorer_is_unused_once_its_last_request_and_its_forward_are_over() -> None:
    old, new = Constant(1.0), Constant(2.0)
    async with Rig(scorer=old) as rig:
        old.gate.clear()
        cancelled = rig.send("given up")
        await asyncio.to_thread(old.begun.wait, 10)
        rig.scheduler.replace(new)
        unused = asyncio.create_task(rig.scheduler.until_unused(old))
        cancelled.cancel()
        await asyncio.wait({cancelled})
        await asyncio.sleep(0)
        assert not unused.done()  # the device still works on what nobody waits for

        old.gate.set()
        async with asyncio.timeout(10):
            await unused
        await until(lambda: rig.num_admitted == 0)
        assert rewards(await rig.score("x")) == {2.0}
