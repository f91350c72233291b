import asyncio

import pytest
from fastapi import Request
from starlette.requests import ClientDisconnect

from service.http.deadline import deadline_of, while_connected


def request(receive=None, **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw}, receive)


def test_a_deadline_is_on_the_given_clock():
    assert deadline_of(request(x_request_timeout_ms="1500"), lambda: 10.0) == 11.5
    assert deadline_of(request(), lambda: 10.0) is None


async def test_work_is_cancelled_when_the_caller_goes_away():
    gone, cancelled = asyncio.Event(), asyncio.Event()

    async def receive():
        await gone.wait()
        return {"type": "http.disconnect"}

    async def work():
        gone.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(ClientDisconnect):
        await while_connected(request(receive), work())
    assert cancelled.is_set()


async def test_a_result_or_an_error_of_the_work_comes_through():
    async def receive():
        await asyncio.Event().wait()

    async def fine():
        return 3

    async def bad():
        raise KeyError

    assert await while_connected(request(receive), fine()) == 3
    with pytest.raises(KeyError):
        await while_connected(request(receive), bad())
