import asyncio
from typing import Any

from service.http.window import Window


async def settled(value: int) -> dict[str, Any]:
    return {"value": value}


async def never() -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


def has_room(window: Window, num_bytes: int) -> "asyncio.Task[None]":
    return asyncio.create_task(window.wait_for_room(num_bytes))


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_lines_come_out_in_order_and_keep_their_place_until_the_next_is_asked_for():
    window = Window(max_bytes=10)
    for value in range(2):
        window.add(asyncio.create_task(settled(value)), 5)
    window.end()
    room = has_room(window, 5)
    results = window.results()

    assert await anext(results) == {"value": 0}
    await turns()
    assert not room.done()
    assert await anext(results) == {"value": 1}
    await room
    assert [one async for one in results] == []


async def test_an_empty_window_takes_a_line_of_any_size():
    await Window(max_bytes=10).wait_for_room(1000)


async def test_so_many_lines_fill_it_however_short():
    window = Window(max_bytes=10**6)
    for value in range(64):
        window.add(asyncio.create_task(settled(value)), 0)
    room = has_room(window, 0)
    await turns()

    assert not room.done()
    room.cancel()


async def test_it_says_whether_the_next_line_is_at_work():
    window = Window(max_bytes=10)
    assert not window.is_scoring

    work = asyncio.create_task(never())
    window.add(work, 1)
    assert window.is_scoring
    window.abandon()
    await turns()

    assert work.cancelled()
    assert not window.is_scoring
    assert [one async for one in window.results()] == []
