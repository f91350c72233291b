import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rm_core.engine.packing.policy import QueuedSequence, TokenBudgetController
from rm_core.errors import EngineClosed
from rm_core.rewards.rule import ScoredItem
from rm_core.types import Dialogue, EncodedItem, ItemRewards
from service.batching.admission import Admission
from service.batching.device_thread import DeviceThread
from service.batching.pack_runner import NONFINITE, PackRunner, outcome_of
from service.batching.queue import Entry, PendingRequest, Submission
from service.observability.metrics import Metrics
from service.results import ItemFailure
from service.watchdog.engine_watch import EngineWatch
from service.watchdog.limits import WatchLimits
from tests.fakes import ERROR_MARK, NAN_MARK, FakeScorer, fake_reward
from tests.service.streams.store_calls import FakeClock


class Bench:
    """A runner with its device, its queue's places and packs to give it."""

    def __init__(self, scorer: FakeScorer | None = None, *, max_tokens: int = 1000) -> None:
        self.scorer = scorer or FakeScorer()
        self.device = DeviceThread()
        self.device.start()
        self.admission = Admission(100, 10_000, max_tokens)
        self.cap = TokenBudgetController(max_tokens)
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.watch = EngineWatch()
        self.runner = PackRunner(
            self.scorer,
            self.device,
            self.admission,
            self.cap,
            self.metrics,
            self.clock,
            self.watch,
        )

    def pack(self, *responses: str, deadline: float | None = None) -> list[Entry]:
        """One admitted request per response."""
        return [self._entry(response, deadline) for response in responses]

    def _entry(self, response: str, deadline: float | None) -> Entry:
        item = self.scorer.encode(Dialogue("p", response))
        done = asyncio.get_running_loop().create_future()
        request = PendingRequest(Submission("/score", deadline=deadline), [None], 1, done)
        self.admission.admit_items(1, request.submission.flow, 1e9)
        self.admission.admit_tokens(item.num_tokens, request.submission.flow)
        return Entry(request, 0, QueuedSequence(item, 0, "p"), self.clock())

    def all_given_back(self) -> bool:
        return (self.admission.items, self.admission.tokens) == (0, 0)


def code(entry: Entry) -> str:
    outcome = entry.request.outcomes[0]
    if isinstance(outcome, ScoredItem):
        return "ok"
    return "none" if outcome is None else outcome.code


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.device.close(5)


async def test_each_entry_gets_its_own_reward_and_gives_its_place_back(bench: Bench) -> None:
    texts = [f"answer {i}" for i in range(7)]
    pack = bench.pack(*texts)

    await bench.runner.run(pack)

    for entry, text in zip(pack, texts, strict=True):
        outcome = entry.request.outcomes[0]
        assert isinstance(outcome, ScoredItem)
        assert outcome.rewards["safety"] == fake_reward("safety", Dialogue("p", text))
        assert entry.request.is_over
    assert bench.all_given_back()


@settings(max_examples=60, deadline=None)  # each example has a thread to start and to end
@given(kinds=st.lists(st.sampled_from(["ok", "error", "nan", "left", "late"]), max_size=12))
def test_whatever_the_others_do_each_entry_has_its_outcome_and_no_place_is_lost(
    kinds: list[str],
) -> None:
    marks = {"error": ERROR_MARK, "nan": NAN_MARK}
    expected = {"ok": "ok", "error": "engine_error", "nan": "nonfinite_reward"}

    async def check() -> None:
        bench = Bench()
        pack = [
            bench.pack(
                f"text {i} {marks.get(kind, '')}",
                deadline=bench.clock.now if kind == "late" else None,
            )[0]
            for i, kind in enumerate(kinds)
        ]
        for entry, kind in zip(pack, kinds, strict=True):
            if kind == "left":
                entry.request.done.cancel()

        await bench.runner.run(list(pack))

        assert [code(entry) for entry in pack] == [expected.get(kind, "none") for kind in kinds]
        assert bench.all_given_back()
        await bench.device.close(5)

    asyncio.run(check())


async def test_a_pack_above_a_lowered_cap_is_halved_without_trying_it(bench: Bench) -> None:
    bench.cap.failed(8)  # now 4 tokens, two of these texts
    pack = bench.pack("a", "b", "c", "d")

    await bench.runner.run(pack)

    assert bench.scorer.forwards == [["a", "b"], ["c", "d"]]
    assert bench.scorer.failed == []


async def test_memory_that_ran_out_lowers_the_cap_for_the_packs_to_come(bench: Bench) -> None:
    bench.scorer.max_fitting = 2

    await bench.runner.run(bench.pack("a", "b", "c", "d"))

    assert bench.scorer.failed == [4]
    assert bench.cap.is_lowered
    splits = bench.metrics.registry.get_sample_value("rm_batch_splits_total", {"reason": "oom"})
    assert splits == 1.0


async def test_a_scorer_that_gives_too_few_rewards_gives_nobody_anothers() -> None:
    class Short(FakeScorer):
        def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
            return super().forward(items)[: len(items) - 1]

    bench = Bench(Short())
    pack = bench.pack("a", "b", "c")

    await bench.runner.run(pack)

    assert [code(entry) for entry in pack] == ["engine_error"] * 3
    assert bench.all_given_back()
    await bench.device.close(5)


@pytest.mark.parametrize("rewards", [(math.nan, 0.5), (0.5, math.inf)])
def test_a_reward_that_is_not_finite_fails_its_item_wherever_it_was_read(
    rewards: tuple[float, ...],
) -> None:
    item = FakeScorer().encode(Dialogue("p", "a", read_at="tokens"))

    assert outcome_of(item, {"safety": rewards, "helpfulness": (0.0, 0.0)}) is NONFINITE


async def test_a_device_that_is_gone_settles_nothing_and_gives_every_place_back(
    bench: Bench,
) -> None:
    bench.scorer.die = True
    pack = bench.pack("a", "b")

    with pytest.raises(EngineClosed):
        await bench.runner.run(pack)

    assert [code(entry) for entry in pack] == ["none", "none"]
    assert bench.all_given_back()


async def test_an_outcome_never_repeats_the_text(bench: Bench) -> None:
    (entry,) = bench.pack(f"secret {ERROR_MARK}")

    await bench.runner.run([entry])

    outcome = entry.request.outcomes[0]
    assert isinstance(outcome, ItemFailure)
    assert "secret" not in repr(outcome)


async def test_a_forward_is_watched_and_its_time_is_learned(bench: Bench) -> None:
    watch = bench.runner._watch = EngineWatch(limits=WatchLimits(warm_up=-1.0))
    bench.scorer.gate.clear()
    running = asyncio.create_task(bench.runner.run(bench.pack("answer")))
    await asyncio.to_thread(bench.scorer.begun.wait, 10)

    told = watch.watchdog.cause
    bench.scorer.gate.set()
    await running

    assert told is not None
    assert "warm_up in thread rewardd-device" in told
    assert watch.watchdog.cause is None
    assert watch.pack_times.limit(2)[0] == "forward"


async def test_a_scorer_that_was_replaced_teaches_nothing_of_its_successor(bench: Bench) -> None:
    (entry,) = bench.pack("answer")
    submission = replace(entry.request.submission, scorer=bench.scorer)
    entry.request.submission = submission
    bench.runner.replace(FakeScorer())

    await bench.runner.run([entry])

    assert bench.watch.pack_times.limit(2)[0] == "warm_up"


async def test_a_forward_that_failed_says_nothing_of_the_time_that_one_takes(bench: Bench) -> None:
    await bench.runner.run(bench.pack(ERROR_MARK))

    assert bench.watch.pack_times.limit(2)[0] == "warm_up"
