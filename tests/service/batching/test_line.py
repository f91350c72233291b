"""Callers in turn, of each his requests; and who leaves takes nothing along."""

import asyncio

import pytest

from service.batching.line import Line
from service.batching.queue import Flow

FLOW = Flow(b"", "bulk")


class Store:
    """So much of something."""

    def __init__(self, amount: int) -> None:
        self.left = amount
        self.line = Line(self.take, self.give)
        self.taken: list[tuple[bytes, int]] = []

    def take(self, amount: int, flow: Flow) -> bool:
        if amount > self.left:
            return False
        self.left -= amount
        self.taken.append((flow.caller, amount))
        return True

    def give(self, amount: int, flow: Flow = FLOW) -> None:
        self.left += amount
        self.line.serve()


async def joined(
    store: Store, *amounts: int, caller: bytes = b"", request: object = None
) -> list["asyncio.Task[None]"]:
    """Requests of so much each, or one request that stands there several times."""
    tasks = [
        asyncio.create_task(
            store.line.join(amount, Flow(caller, "bulk"), object() if request is None else request)
        )
        for amount in amounts
    ]
    await asyncio.sleep(0)
    return tasks


async def test_who_finds_enough_does_not_wait() -> None:
    store = Store(3)

    await store.line.join(3, FLOW, None)

    assert (store.left, len(store.line), store.line.first_wants) == (0, 0, 0)


async def test_the_first_is_served_before_one_that_wants_less() -> None:
    store = Store(0)
    large, small = await joined(store, 3, 1)

    store.give(2)
    await asyncio.sleep(0)
    assert (len(store.line), store.line.first_wants) == (2, 3)
    store.give(2)
    await asyncio.gather(large, small)

    assert store.left == 0


async def test_nobody_who_comes_later_goes_past_the_line() -> None:
    store = Store(1)
    (first,) = await joined(store, 2)

    (later,) = await joined(store, 1)

    assert len(store.line) == 2
    store.give(2)
    await asyncio.gather(first, later)


async def test_who_leaves_makes_way_for_those_behind() -> None:
    store = Store(1)
    first, second, third = await joined(store, 5, 1, 1)

    third.cancel()
    first.cancel()
    async with asyncio.timeout(5):
        await second

    assert (store.left, len(store.line)) == (0, 0)
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_what_came_in_the_moment_of_leaving_is_given_back() -> None:
    store = Store(0)
    (first,) = await joined(store, 2)

    store.give(2)
    first.cancel()

    with pytest.raises(asyncio.CancelledError):
        await first
    assert store.left == 2


async def test_callers_are_served_in_turn_however_long_one_stands_there() -> None:
    store = Store(0)
    flood = await joined(store, *[1] * 30, caller=b"flood")
    polite = await joined(store, *[1] * 5, caller=b"polite")

    store.give(10)
    await asyncio.gather(*polite)

    assert store.taken == [(b"flood", 1), (b"polite", 1)] * 5
    store.give(25)
    await asyncio.gather(*flood)


async def test_the_requests_of_one_caller_get_equal_amounts() -> None:
    """Eight bodies, of which the first stands there with all its lines, and one large request."""
    store = Store(0)
    waiting = [await joined(store, *[1] * 20, request=body) for body in range(8)]
    waiting.append(await joined(store, 20, request="large"))
    store.give(64)
    await asyncio.sleep(0)

    served = [sum(task.done() for task in tasks) for tasks in waiting]
    assert sum(served) == 45  # the large one took 20 of the 64, and the others have as much now
    assert (served[-1], min(served[:-1]), max(served[:-1])) == (1, 5, 6)
    store.give(1000)
    await asyncio.gather(*(task for tasks in waiting for task in tasks))
    assert len(store.line) == 0


async def test_who_had_much_waits_until_the_others_had_as_much() -> None:
    store = Store(0)
    (first,) = await joined(store, 10, caller=b"a")
    others = await joined(store, *[1] * 12, caller=b"b")
    store.give(10)
    await first
    (again,) = await joined(store, 1, caller=b"a")
    store.give(10)
    await asyncio.sleep(0)

    assert (again.done(), sum(task.done() for task in others)) == (False, 10)
    store.give(3)
    await asyncio.gather(again, *others)
