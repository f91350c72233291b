import asyncio

import pytest

from rm_core.engine.packing.policy import QueuedSequence
from rm_core.errors import EngineClosed, InvariantViolation
from rm_core.rewards.rule import ScoredItem
from rm_core.types import Encoded, EncodedItem
from service.batching.queue import Entry, PendingRequest, Submission
from service.results import ItemFailure


def pending(count: int) -> tuple[PendingRequest, list[Entry]]:
    done = asyncio.get_running_loop().create_future()
    request = PendingRequest(Submission("/score"), [None] * count, count, done)
    item = EncodedItem({"safety": Encoded((1, 2), 1), "helpfulness": Encoded((1, 2, 3), 2)})
    entries = [Entry(request, i, QueuedSequence(item, i, "p"), 0.0) for i in range(count)]
    return request, entries


def scored(reward: float) -> ScoredItem:
    return ScoredItem({"safety": reward}, 3)


async def test_the_last_outcome_wakes_the_caller_who_gets_all_in_order() -> None:
    request, entries = pending(3)
    failure = ItemFailure("empty_text", "nothing to judge")

    entries[2].settle(scored(2.0))
    entries[0].settle(scored(0.0))
    assert not request.is_over
    entries[1].settle(failure)

    assert request.is_over
    assert request.results() == [scored(0.0), failure, scored(2.0)]


async def test_an_outcome_is_never_replaced() -> None:
    request, (first, _) = pending(2)
    first.settle(scored(1.0))

    with pytest.raises(InvariantViolation):
        first.settle(scored(2.0))

    assert request.outcomes == [scored(1.0), None]
    assert request.unfinished == 1


async def test_results_are_not_read_before_the_last_is_there() -> None:
    request, (first, _) = pending(2)
    first.settle(scored(1.0))

    with pytest.raises(InvariantViolation):
        request.results()


async def test_what_comes_after_the_caller_was_told_that_nothing_will_is_harmless() -> None:
    request, (only,) = pending(1)
    request.fail(EngineClosed("gone"))
    request.fail(EngineClosed("gone again"))

    only.settle(scored(1.0))

    with pytest.raises(EngineClosed, match=r"gone$"):
        await request.done


async def test_an_entry_costs_the_queue_its_longest_encoding() -> None:
    _, (entry,) = pending(1)

    assert entry.num_tokens == 3
