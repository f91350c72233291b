"""What is planned while the device works, and when a plan no longer holds."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from rm_core.engine.packing.policy import Priority, QueuedSequence, Turns, new_turns
from rm_core.types import Encoded, EncodedItem
from service.batching.prefetch import PlannedPack, plan_from
from service.batching.queue import Entry, PendingRequest, Submission
from tests.service.rig import Rig, right, until


def entry(
    order: int,
    group: str,
    priority: Priority = "interactive",
    *,
    caller: str = "",
    at: int | None = None,
) -> Entry:
    request: Any = PendingRequest(Submission("/score", priority), [None], 1, done=None)  # type: ignore[arg-type]
    item = EncodedItem({"safety": Encoded((1, 2, 3), 2)})
    return Entry(
        request,
        0,
        QueuedSequence(item, order, group, priority, caller, order if at is None else at),
        0.0,
    )


def first_two(queue: Sequence[Entry], first: Priority, turns: Turns) -> list[int]:
    del first, turns
    return list(range(min(2, len(queue))))


def planned(queue: Sequence[Entry]) -> PlannedPack | None:
    return plan_from(queue, first_two, first="interactive", max_tokens=6, turns=new_turns(6))


def test_nothing_is_planned_while_everything_fits() -> None:
    queue = [entry(0, "a"), entry(1, "b")]

    assert planned(queue) is None


def test_a_plan_holds_while_only_others_come_behind_it() -> None:
    queue = [entry(0, "a"), entry(1, "b"), entry(2, "c")]
    plan = planned(queue)

    assert plan is not None
    assert plan.entries == (queue[0], queue[1])
    assert plan.is_valid([*queue, entry(3, "d")], "interactive", 6)


@pytest.mark.parametrize(
    "change",
    [
        "a member came",
        "one has gone",
        "other class",
        "other budget",
        "a turn came",
        "another caller came",
        "a body's first line came",
    ],
)
def test_a_plan_is_void_when_another_pack_would_be_chosen(change: str) -> None:
    second = entry(1, "b", "bulk" if change == "a turn came" else "interactive")
    queue = [entry(0, "a"), second, entry(2, "c")]
    plan = planned(queue)
    now = {
        "a member came": [*queue, entry(3, "a")],
        "a turn came": [*queue, entry(3, "d")],
        "another caller came": [*queue, entry(3, "d", caller="other")],
        "a body's first line came": [*queue, entry(3, "d", at=0)],
    }

    assert plan is not None
    assert not plan.is_valid(
        queue[1:] if change == "one has gone" else now.get(change, queue),
        "bulk" if change == "other class" else "interactive",
        5 if change == "other budget" else 6,
    )


async def test_a_member_that_comes_late_still_meets_its_group() -> None:
    async with Rig(max_pack_items=3) as rig:
        async with rig.holding(prompt="x"):
            sent = [rig.send("a0", prompt="a"), rig.send("a1", prompt="a")]
            sent += [rig.send(f"{p}0", prompt=p) for p in "bc"]
            await until(lambda: rig.scorer.planned)
            sent.append(rig.send("a2", prompt="a"))
            await rig.until_queued(5)
        await asyncio.gather(*sent)

    assert rig.scorer.forwards[1] == ["a0", "a1", "a2"]


async def test_a_plan_that_fails_costs_nothing() -> None:
    async with Rig(max_pack_items=1) as rig:
        rig.scorer.plan_error = RuntimeError("no plan")

        right(await rig.score("a", "b", "c"), "a", "b", "c")
