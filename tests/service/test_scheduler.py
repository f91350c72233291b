import asyncio
import time
from typing import Any

import pytest

from rm_core.errors import EngineClosed
from rm_core.types import Dialogue
from service.metrics import Metrics
from service.queueing import DeadlineExceeded, QueueFull, RequestTooLarge
from service.scheduler import Scheduler, SchedulerLimits
from service.scoring import ItemFailure, ScoredItem
from tests.fakes import ENCODE_ERROR_MARK, ERROR_MARK, NAN_MARK, FakeScorer, fake_reward

LIMITS: dict[str, Any] = {
    "max_pack_tokens": 1000,
    "max_pack_items": 100,
    "max_wait_seconds": 0.0,
    "max_queue_items": 1000,
    "max_queue_tokens": 100_000,
    "max_request_tokens": 50_000,
    "bulk_every_packs": 4,
    "tokenizer_threads": 2,
}


class Rig:
    def __init__(self, *, shares_prefixes: bool = False, **limits: Any) -> None:
        self.scorer = FakeScorer()
        self.scorer.shares_prefixes = shares_prefixes
        self.metrics = Metrics()
        merged = SchedulerLimits(**{**LIMITS, **limits})
        self.scheduler = Scheduler(self.scorer, merged, self.metrics, time.monotonic)

    async def __aenter__(self) -> "Rig":
        self.scheduler.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.scorer.gate.set()
        await self.scheduler.close()

    async def score(self, *responses: str, prompt: str = "p", **options: Any) -> list[Any]:
        given = {
            "truncate": "error",
            "priority": "interactive",
            "deadline": None,
            "max_wait_seconds": 60.0,
            "route": "/score",
            **options,
        }
        return await self.scheduler.score([Dialogue(prompt, r) for r in responses], **given)

    def send(self, *responses: str, **options: Any) -> "asyncio.Task[list[Any]]":
        return asyncio.create_task(self.score(*responses, **options))

    async def begun(self) -> None:
        await asyncio.to_thread(self.scorer.begun.wait, 10)

    async def until_queued(self, count: int) -> None:
        await until(lambda: self.value("rm_queue_items") == count)

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (conditions of several kinds, no event each)
            await asyncio.sleep(0.001)


def right(outcomes: list[Any], *responses: str, prompt: str = "p") -> None:
    for outcome, response in zip(outcomes, responses, strict=True):
        assert isinstance(outcome, ScoredItem)
        dialogue = Dialogue(prompt, response)
        assert outcome.rewards == {
            role: fake_reward(role, dialogue) for role in ("safety", "helpfulness")
        }


async def test_outcomes_come_back_in_the_order_of_the_request():
    responses = [f"answer {i}" for i in range(250)]
    async with Rig() as rig:
        right(await rig.score(*responses), *responses)


async def test_arrivals_gather_while_the_device_works():
    async with Rig() as rig:
        rig.scorer.gate.clear()
        first = rig.send("first")
        await rig.begun()
        others = [rig.send(f"r{i}") for i in range(30)]
        await rig.until_queued(30)

        rig.scorer.gate.set()
        await asyncio.gather(first, *others)

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


async def test_a_pack_is_bounded_in_tokens_after_sharing():
    prompt = "word " * 64
    async with Rig(shares_prefixes=True, max_pack_tokens=100) as rig:
        rig.scorer.gate.clear()
        blocker = rig.send("blocker", prompt="x")
        await rig.begun()
        group = rig.send("a", "b", "c", "d", prompt=prompt)
        await rig.until_queued(4)

        rig.scorer.gate.set()
        await asyncio.gather(blocker, group)

        assert rig.scorer.forwards[1:] == [["a", "b", "c", "d"]]
        assert rig.value("rm_tokens_total", kind="prefix_reused") > 100


async def test_responses_of_one_prompt_meet_in_a_pack_across_requests():
    async with Rig(max_pack_items=3) as rig:
        rig.scorer.gate.clear()
        blocker = rig.send("blocker", prompt="x")
        await rig.begun()
        sent = [blocker]
        for number, prompt in enumerate("aabab"):
            sent.append(rig.send(f"{prompt}{number}", prompt=prompt))
            await rig.until_queued(number + 1)

        rig.scorer.gate.set()
        await asyncio.gather(*sent)

        assert rig.scorer.forwards[1:] == [["a0", "a1", "a3"], ["b2", "b4"]]


@pytest.mark.parametrize("repetition", range(10))
async def test_the_bound_on_items_is_exact(repetition):
    async with Rig(max_queue_items=20) as rig:
        rig.scorer.gate.clear()
        sent = [rig.send(f"r{i}") for i in range(120)]
        await until(lambda: sum(task.done() for task in sent) == 100)

        rejected = [task for task in sent if task.done()]
        assert all(isinstance(task.exception(), QueueFull) for task in rejected)
        assert rig.scheduler.num_admitted == 20

        rig.scorer.gate.set()
        accepted = {i: task for i, task in enumerate(sent) if task not in rejected}
        for index, task in accepted.items():
            right(await task, f"r{index}")
        assert len(accepted) == 20
        assert rig.scheduler.num_admitted == 0


async def test_the_bound_on_tokens_refuses_and_gives_the_places_back():
    async with Rig(max_queue_tokens=10) as rig:
        rig.scorer.gate.clear()
        held = rig.send("one two three four five six seven")  # 8 tokens with the prompt
        await rig.begun()

        with pytest.raises(QueueFull) as refused:
            await rig.score("one two three")

        assert refused.value.reason == "token_budget"
        assert rig.scheduler.num_admitted == 1
        rig.scorer.gate.set()
        await held


async def test_a_request_with_too_many_tokens_is_refused():
    async with Rig(max_request_tokens=5) as rig:
        with pytest.raises(RequestTooLarge):
            await rig.score("one two", "three four")
        assert rig.scheduler.num_admitted == 0


async def test_a_queue_that_is_too_slow_refuses_with_an_estimate():
    async with Rig() as rig:
        rig.scheduler._admission.measured(tokens=10, seconds=10.0)
        rig.scorer.gate.clear()
        held = rig.send("word " * 99)
        await rig.begun()

        with pytest.raises(QueueFull) as refused:
            await rig.score("another", max_wait_seconds=60.0)

        assert refused.value.reason == "queue_wait"
        assert refused.value.retry_after_seconds == 40  # 100 tokens at 1/s, 60 s allowed
        rig.scorer.gate.set()
        await held


async def test_a_request_that_waits_too_long_is_given_up_and_leaves_the_queue():
    async with Rig(max_pack_items=1) as rig:
        rig.scorer.gate.clear()
        held = rig.send("held")
        await rig.begun()

        with pytest.raises(QueueFull):
            await rig.score("late", max_wait_seconds=0.05)

        assert rig.value("rm_queue_items") == 0
        assert rig.scheduler.num_admitted == 1
        rig.scorer.gate.set()
        await held
        assert rig.scorer.forwards == [["held"]]


async def test_a_passed_deadline_never_reaches_the_device():
    async with Rig() as rig:
        rig.scorer.gate.clear()
        held = rig.send("held")
        await rig.begun()
        deadline = time.monotonic() + 0.05
        late = [rig.send(f"late{i}", deadline=deadline) for i in range(50)]

        outcomes = await asyncio.gather(*late, return_exceptions=True)

        assert all(isinstance(outcome, DeadlineExceeded) for outcome in outcomes)
        assert time.monotonic() - deadline < 1.0
        rig.scorer.gate.set()
        await held
        await rig.score("probe")
        assert rig.scorer.forwards == [["held"], ["probe"]]


async def test_cancelled_requests_free_their_places_at_once():
    async with Rig() as rig:
        rig.scorer.gate.clear()
        held = rig.send("held")
        await rig.begun()
        gone = [rig.send(f"gone{i}") for i in range(50)]
        await rig.until_queued(50)

        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)

        assert rig.value("rm_queue_items") == 0
        assert rig.scheduler.num_admitted == 1
        assert rig.value("rm_cancelled_total", stage="queue") == 50
        rig.scorer.gate.set()
        await held
        await rig.score("probe")
        assert rig.scorer.forwards == [["held"], ["probe"]]


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
        await rig.begun()
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)

        rig.scorer.gate.set()
        right(await kept, "kept")
        await rig.score("probe")

        assert rig.scorer.failed == [2]
        assert rig.scorer.forwards == [["kept"], ["probe"]]
        assert rig.value("rm_cancelled_total", stage="inference") == 1
        assert rig.scheduler.num_admitted == 0


async def test_an_item_that_does_not_fit_even_alone_fails_alone():
    async with Rig() as rig:
        rig.scorer.max_fitting = 0

        outcomes = await rig.score("a", "b")

        assert [outcome.code for outcome in outcomes] == ["out_of_memory"] * 2
        rig.scorer.max_fitting = 100
        right(await rig.score("a"), "a")
        assert rig.scheduler.num_admitted == 0


async def test_a_failing_item_is_isolated_and_its_neighbours_are_right():
    responses = [f"r{i}" for i in range(16)]
    responses[11] = f"bad {ERROR_MARK}"
    async with Rig() as rig:
        outcomes = await rig.score(*responses)

        failure = outcomes.pop(11)
        assert isinstance(failure, ItemFailure)
        assert (failure.code, failure.status) == ("engine_error", 500)
        assert ERROR_MARK not in failure.detail
        del responses[11]
        right(outcomes, *responses)
        assert rig.scheduler.num_admitted == 0


async def test_a_reward_that_is_not_finite_fails_its_item_only():
    async with Rig() as rig:
        first, bad, last = await rig.score("a", f"b {NAN_MARK}", "c")

        assert bad.code == "nonfinite_reward"
        right([first, last], "a", "c")
        assert rig.value("rm_reward_nonfinite_total") == 1


async def test_texts_that_cannot_be_encoded_fail_alone():
    async with Rig() as rig:
        empty, bug, fine = await rig.score("  ", f"x {ENCODE_ERROR_MARK}", "fine")

        assert (empty.code, empty.pointer) == ("empty_text", "response")
        assert (bug.code, bug.status) == ("tokenizing_failed", 500)
        right([fine], "fine")
        assert rig.scheduler.num_admitted == 0


async def test_nothing_to_score_costs_nothing():
    async with Rig() as rig:
        assert await rig.score() == []
        assert rig.scorer.forwards == []


async def test_interactive_work_overtakes_bulk_but_does_not_starve_it():
    async with Rig(max_pack_items=1) as rig:
        rig.scorer.gate.clear()
        sent = [rig.send("held")]
        await rig.begun()
        for i in range(2):
            sent.append(rig.send(f"bulk{i}", prompt=f"b{i}", priority="bulk"))
            await rig.until_queued(i + 1)
        for i in range(8):
            sent.append(rig.send(f"quick{i}", prompt=f"q{i}"))
            await rig.until_queued(i + 3)

        rig.scorer.gate.set()
        await asyncio.gather(*sent)

        order = [pack[0] for pack in rig.scorer.forwards[1:]]
        assert order[:4] == ["quick0", "quick1", "quick2", "bulk0"]
        assert order.index("bulk1") == 7


async def test_a_dead_device_thread_fails_who_waits_and_who_comes():
    async with Rig() as rig:
        rig.scorer.gate.clear()
        held = rig.send("held")
        await rig.begun()
        waiting = rig.send("waiting")
        await rig.until_queued(1)
        rig.scorer.die = True
        rig.scorer.gate.set()

        right(await held, "held")
        with pytest.raises(EngineClosed):
            await waiting
        with pytest.raises(EngineClosed):
            await rig.score("late")
        assert not rig.scheduler.is_alive
        assert rig.scheduler.num_admitted == 0


async def test_closing_tells_everyone_who_waits():
    rig = Rig()
    async with rig:
        rig.scorer.gate.clear()
        held, waiting = rig.send("held"), rig.send("waiting", prompt="other")
        await rig.begun()
        closing = asyncio.create_task(rig.scheduler.close())
        outcomes = await asyncio.gather(held, waiting, return_exceptions=True)
        rig.scorer.gate.set()
        await closing

    assert all(isinstance(outcome, EngineClosed) for outcome in outcomes)
    assert rig.scheduler.num_admitted == 0
