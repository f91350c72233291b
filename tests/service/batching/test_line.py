"""First come, first served; and who leaves takes nothing along."""

import asyncio

import pytest

from service.batching.line import Line


class Store:
    """So much of something."""

    def __init__(self, amount: int) -> None:
        self.left = amount
        self.line = Line(self.take, self.give)

    def take(self, amount: int) -> bool:
        if amount > self.left:
            return False
        self.left -= amount
        return True

    def give(self, amount: int) -> None:
        self.left += amount
        self.line.serve()


async def joined(store: Store, *amounts: int) -> list["asyncio.Task[None]"]:
    tasks = [asyncio.create_task(store.line.join(amount)) for amount in amounts]
    await asyncio.sleep(0)
    return tasks


async def test_who_finds_enough_does_not_wait() -> None:
    store = Store(3)

    await store.line.join(3)

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
