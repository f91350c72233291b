"""What fails on the device or before it fails alone."""

import asyncio
import threading

import pytest

from rm_core.errors import EngineClosed
from tests.fakes import NAN_MARK, FakeScorer
from tests.service.rig import Rig, right


async def test_out_of_memory_splits_until_everything_fits_and_is_remembered():
    responses = [f"r{i}" for i in range(64)]
    async with Rig() as rig:
        rig.scorer.max_fitting = 5

        right(await rig.score(*responses), *responses)

        attempts = len(rig.scorer.forwards) + len(rig.scorer.failed)
        assert attempts <= 2 * 13 + 6  # 2·⌈64/5⌉ + log2 64
        assert [r for pack in rig.scorer.forwards for r in pack] == responses

        rig.scorer.failed.clear()
        right(await rig.score(*responses[:4]), *responses[:4])
        assert rig.scorer.failed == []


async def test_what_nobody_waits_for_any_more_is_dropped_between_the_halves_of_a_pack():
    async with Rig(max_wait_seconds=0.2, max_pack_items=2) as rig:
        rig.scorer.max_fitting = 1
        rig.scorer.gate.clear()
        kept, gone = rig.send("kept"), rig.send("gone")
        await asyncio.to_thread(rig.scorer.begun.wait, 10)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)

        rig.scorer.gate.set()
        right(await kept, "kept")
        await rig.score("probe")

        assert rig.scorer.failed == [2]
        assert rig.scorer.forwards == [["kept"], ["probe"]]
        assert rig.value("rm_cancelled_total", stage="inference") == 1
        assert rig.num_admitted == 0


async def test_an_item_that_does_not_fit_even_alone_fails_alone():
    async with Rig() as rig:
        rig.scorer.max_fitting = 0

        outcomes = await rig.score("a", "b")

        assert [outcome.code for outcome in outcomes] == ["out_of_memory"] * 2
        rig.scorer.max_fitting = 100
        right(await rig.score("a"), "a")
        assert rig.num_admitted == 0


async def test_a_reward_that_is_not_finite_fails_its_item_only():
    async with Rig() as rig:
        first, bad, last = await rig.score("a", f"b {NAN_MARK}", "c")

        assert bad.code == "nonfinite_reward"
        right([first, last], "a", "c")
        assert rig.value("rm_reward_nonfinite_total") == 1


async def test_a_dead_device_thread_fails_who_waits_and_who_comes():
    async with Rig() as rig:
        async with rig.holding():
            waiting = rig.send("waiting")
            await rig.until_queued(1)
            rig.scorer.die = True
        with pytest.raises(EngineClosed):
            await waiting
        with pytest.raises(EngineClosed):
            await rig.score("late")
        assert not rig.scheduler.is_alive
        assert rig.num_admitted == 0


async def test_whoever_waits_anywhere_and_whoever_comes_is_told_when_all_is_given_up():
    scorer = HangingScorer()
    async with Rig(scorer=scorer, max_queue_items=4, tokenizer_threads=1) as rig:
        scorer.gate.clear()
        running = rig.send("running")
        await asyncio.to_thread(scorer.begun.wait, 10)
        queued = rig.send("queued")
        await rig.until_queued(1)
        tokenised = rig.send("hang")
        await asyncio.to_thread(scorer.hanging.wait, 10)
        in_line = rig.send("in line", priority="bulk", waits=True)
        await asyncio.sleep(0.05)

        rig.scheduler.fail_all(EngineClosed("given up"))

        for waiting in (running, queued, tokenised, in_line):
            with pytest.raises(EngineClosed):
                await asyncio.wait_for(waiting, 10)
        with pytest.raises(EngineClosed, match="given up"):
            await rig.score("late")
        assert not rig.scheduler.is_alive
        assert rig.scheduler.death is None  # its threads hang, but live
        scorer.released.set()


async def test_a_bug_in_choosing_packs_is_told_to_whoever_waits_and_to_the_watchdog():
    def bug():
        raise ZeroDivisionError

    async with Rig() as rig:
        rig.scheduler._queue.take = bug
        for response in ("first", "later"):
            with pytest.raises(EngineClosed):
                await asyncio.wait_for(rig.score(response), 10)

        assert rig.scheduler.death == "the task that feeds the device has ended"


class HangingScorer(FakeScorer):
    def __init__(self):
        super().__init__()
        self.hanging = threading.Event()
        self.released = threading.Event()

    def encode(self, dialogue, *, truncate="error"):
        if dialogue.response == "hang":
            self.hanging.set()
            self.released.wait(60)
        return super().encode(dialogue, truncate=truncate)
