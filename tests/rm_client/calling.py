"""Calling either client alike, so that one test holds both to the same."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from rm_client import AsyncRewardClient, RetryPolicy, RewardClient

Ask = Callable[..., Any]

QUICK = RetryPolicy(
    max_attempts=4, initial_delay_seconds=0.01, max_delay_seconds=0.05, max_elapsed_seconds=60.0
)
_SETTINGS = ("retry", "timeout_seconds", "api_key", "connect_timeout_seconds")


def synchronously(url: str, method: str, *args: Any, **options: Any) -> Any:
    own = {name: options.pop(name) for name in _SETTINGS if name in options}
    with RewardClient(url, **{"retry": QUICK, **own}) as client:
        found = getattr(client, method)(*args, **options)
        return list(found) if inspect.isgenerator(found) else found


def asynchronously(url: str, method: str, *args: Any, **options: Any) -> Any:
    own = {name: options.pop(name) for name in _SETTINGS if name in options}

    async def run() -> Any:
        async with AsyncRewardClient(url, **{"retry": QUICK, **own}) as client:
            found = getattr(client, method)(*args, **options)
            if inspect.isasyncgen(found):
                return [result async for result in found]
            return await found

    return asyncio.run(run())
