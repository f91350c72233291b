"""Who is refused or given up: the queue's bounds, deadlines, callers that leave."""

import asyncio
import time

import pytest

from service.errors import DeadlineExceeded, QueueFull, RequestTooLarge
from tests.service.rig import Rig, right, until


@pytest.mark.parametrize("repetition", range(10))
async def test_the_bound_on_items_is_exact(repetition):
    async with Rig(max_queue_items=20) as rig:
        rig.scorer.gate.clear()
        sent = [rig.send(f"r{i}") for i in range(120)]
        await until(lambda: sum(task.done() for task in sent) == 100)

        rejected = [task for task in sent if task.done()]
        assert all(isinstance(task.exception(), QueueFull) for task in rejected)
        assert rig.num_admitted == 20

        rig.scorer.gate.set()
        accepted = {i: task for i, task in enumerate(sent) if task not in rejected}
        for index, task in accepted.items():
            right(await task, f"r{index}")
        assert len(accepted) == 20
        assert rig.num_admitted == 0


async def test_the_bound_on_tokens_refuses_and_gives_the_places_back():
    eight = "one two three four five six seven"  # tokens with the prompt
    async with Rig(max_queue_tokens=10) as rig, rig.holding(eight):
        with pytest.raises(QueueFull) as refused:
            await rig.score("one two three")

        assert refused.value.reason == "token_budget"
        assert rig.num_admitted == 1


async def test_a_request_with_too_many_tokens_is_refused():
    async with Rig(max_request_tokens=5) as rig:
        with pytest.raises(RequestTooLarge):
            await rig.score("one two", "three four")
        assert rig.num_admitted == 0


async def test_a_queue_that_is_too_slow_refuses_with_an_estimate():
    async with Rig() as rig:
        rig.scheduler._admission.pack_rate.measured(tokens=10, cost=10, seconds=10.0)
        async with rig.holding("word " * 99):
            with pytest.raises(QueueFull) as refused:
                await rig.score("another", patience_seconds=60.0)

        assert refused.value.reason == "queue_wait"
        assert refused.value.retry_after_seconds == 40  # 100 tokens at 1/s, 60 s allowed


async def test_a_request_that_waits_too_long_is_given_up_and_leaves_the_queue():
    async with Rig(max_pack_items=1) as rig:
        async with rig.holding():
            with pytest.raises(QueueFull):
                await rig.score("late", patience_seconds=0.05)

            assert rig.value("rm_queue_items") == 0
            assert rig.num_admitted == 1
        assert rig.scorer.forwards == [["held"]]


async def test_a_passed_deadline_never_reaches_the_device():
    async with Rig() as rig:
        async with rig.holding():
            deadline = time.monotonic() + 0.05
            late = [rig.send(f"late{i}", deadline=deadline) for i in range(50)]

            outcomes = await asyncio.gather(*late, return_exceptions=True)

            assert all(isinstance(outcome, DeadlineExceeded) for outcome in outcomes)
            assert time.monotonic() - deadline < 1.0
        await rig.score("probe")
        assert rig.scorer.forwards == [["held"], ["probe"]]


async def test_cancelled_requests_free_their_places_at_once():
    async with Rig() as rig:
        async with rig.holding():
            gone = [rig.send(f"gone{i}") for i in range(50)]
            await rig.until_queued(50)

            for task in gone:
                task.cancel()
            await asyncio.gather(*gone, return_exceptions=True)

            assert rig.value("rm_queue_items") == 0
            assert rig.num_admitted == 1
            assert rig.value("rm_cancelled_total", stage="queue") == 50
        await rig.score("probe")
        assert rig.scorer.forwards == [["held"], ["probe"]]
