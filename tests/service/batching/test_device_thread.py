import asyncio
import threading

import pytest

from rm_core.errors import EngineClosed
from service.batching.device_thread import DeviceThread


async def test_calls_run_in_order_in_one_other_thread():
    device = DeviceThread()
    device.start()
    seen: list[tuple[int, int]] = []

    await asyncio.gather(
        *[device.run(lambda i=i: seen.append((i, threading.get_ident()))) for i in range(20)]
    )

    assert [i for i, _ in seen] == list(range(20))
    assert {ident for _, ident in seen}.isdisjoint({threading.get_ident()})
    assert len({ident for _, ident in seen}) == 1
    await device.close(1)


async def test_an_exception_reaches_its_caller_and_the_thread_lives_on():
    device = DeviceThread()
    device.start()

    with pytest.raises(ZeroDivisionError):
        await device.run(lambda: 1 / 0)

    assert await device.run(lambda: 3) == 3
    assert device.is_alive
    await device.close(1)


async def test_a_call_that_kills_the_thread_tells_everyone():
    device = DeviceThread()
    device.start()
    gate = threading.Event()

    def die() -> None:
        gate.wait(10)
        raise SystemExit

    dying, waiting = asyncio.create_task(device.run(die)), asyncio.create_task(device.run(list))
    await asyncio.sleep(0)
    gate.set()

    for task in (dying, waiting):
        with pytest.raises(EngineClosed):
            await task
    with pytest.raises(EngineClosed):
        await device.run(list)
    assert not device.is_alive


async def test_closing_lets_the_present_call_finish():
    device = DeviceThread()
    device.start()
    gate, begun = threading.Event(), threading.Event()
    running = asyncio.create_task(device.run(lambda: (begun.set(), gate.wait(10), 7)[-1]))
    await asyncio.to_thread(begun.wait, 10)

    closing = asyncio.create_task(device.close(10))
    gate.set()
    await closing

    assert await running == 7
    assert not device.is_alive
