"""Which entries meet in a pack, and in what order packs run."""

import asyncio

from rm_core.errors import EngineClosed
from tests.service.rig import Rig, right


async def test_outcomes_come_back_in_the_order_of_the_request():
    responses = [f"answer {i}" for i in range(250)]
    async with Rig() as rig:
        right(await rig.score(*responses), *responses)


async def test_arrivals_gather_while_the_device_works():
    async with Rig() as rig:
        async with rig.holding():
            others = [rig.send(f"r{i}") for i in range(30)]
            await rig.until_queued(30)
        await asyncio.gather(*others)

        assert [len(pack) for pack in rig.scorer.forwards] == [1, 30]


async def test_an_idle_device_waits_for_company_no_longer_than_allowed():
    async with Rig(max_wait_seconds=0.2) as rig:
        await asyncio.gather(*[rig.send(f"r{i}") for i in range(5)])

        assert [len(pack) for pack in rig.scorer.forwards] == [5]


async def test_a_full_pack_does_not_wait_for_company():
    async with Rig(max_wait_seconds=30.0, max_pack_items=4) as rig:
        async with asyncio.timeout(5):
            await rig.score("a", "b", "c", "d")


async def test_a_caller_who_is_alone_does_not_wait_for_company():
    async with Rig(max_wait_seconds=30.0) as rig:
        async with asyncio.timeout(5):
            for _ in range(3):
                await rig.score("alone")


async def test_only_the_first_caller_after_a_crowd_waits_for_it():
    async with Rig(max_wait_seconds=0.1) as rig:
        await asyncio.gather(*[rig.send(f"r{i}") for i in range(5)])

        async with asyncio.timeout(1.5):  # the crowd would be remembered for two
            for _ in range(50):
                await rig.score("alone")


async def test_a_pack_is_bounded_in_tokens_after_sharing():
    prompt = "word " * 64
    async with Rig(shares_prefixes=True, max_pack_tokens=100) as rig:
        async with rig.holding(prompt="x"):
            group = rig.send("a", "b", "c", "d", prompt=prompt)
            await rig.until_queued(4)
        await group

        assert rig.scorer.forwards[1:] == [["a", "b", "c", "d"]]
        assert rig.value("rm_tokens_total", kind="prefix_reused") > 100


async def test_responses_of_one_prompt_meet_in_a_pack_across_requests():
    async with Rig(max_pack_items=3) as rig:
        sent = []
        async with rig.holding(prompt="x"):
            for number, prompt in enumerate("aabab"):
                sent.append(rig.send(f"{prompt}{number}", prompt=prompt))
                await rig.until_queued(number + 1)
        await asyncio.gather(*sent)

        assert rig.scorer.forwards[1:] == [["a0", "a1", "a3"], ["b2", "b4"]]


async def test_nothing_to_score_costs_nothing():
    async with Rig() as rig:
        assert await rig.score() == []
        assert rig.scorer.forwards == []


async def test_interactive_work_overtakes_bulk_but_does_not_starve_it():
    async with Rig(max_pack_items=1) as rig:
        sent = []
        async with rig.holding():
            for i in range(2):
                sent.append(rig.send(f"bulk{i}", prompt=f"b{i}", priority="bulk"))
                await rig.until_queued(i + 1)
            for i in range(8):
                sent.append(rig.send(f"quick{i}", prompt=f"q{i}"))
                await rig.until_queued(i + 3)
        await asyncio.gather(*sent)

        order = [pack[0] for pack in rig.scorer.forwards[1:]]
        assert order[:4] == ["quick0", "quick1", "quick2", "bulk0"]
        assert order.index("bulk1") == 7


async def test_closing_tells_everyone_who_waits():
    rig = Rig()
    async with rig:
        rig.scorer.gate.clear()
        held = rig.send("held")
        await asyncio.to_thread(rig.scorer.begun.wait, 10)
        waiting = rig.send("waiting", prompt="other")
        await rig.until_queued(1)
        closing = asyncio.create_task(rig.scheduler.close())
        outcomes = await asyncio.gather(held, waiting, return_exceptions=True)
        rig.scorer.gate.set()
        await closing

    assert all(isinstance(outcome, EngineClosed) for outcome in outcomes)
    assert rig.num_admitted == 0
