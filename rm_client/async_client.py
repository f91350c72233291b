"""The client for event loops; what it does is in `rm_client.client`, method for method."""

import asyncio
import functools
import os
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Sequence,
)
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from rm_client import wire
from rm_client.base import ClientBase
from rm_client.call import Call, conclude
from rm_client.checks import raise_failures
from rm_client.client import ONCE, RewardClient
from rm_client.config import ClientConfig, failure_of
from rm_client.errors import ServiceUnavailable
from rm_client.lines import line_calls
from rm_client.models import ScoreResult, Truncation
from rm_client.retry import Failure, Pause, RawReply, RetryPolicy, Send
from rm_client.wire import OnItemError

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Pool:
    """An event loop's connections.

    Attributes:
        http: the connections.
        lifetime: an asynchronous generator that waits to be closed: event loops close theirs when
            they end (`asyncio.run` does), and this one closes the connections with it.
    """

    http: httpx.AsyncClient
    lifetime: AsyncGenerator[None, None]


_Pools = dict[asyncio.AbstractEventLoop, _Pool]

_INHERITED: list[_Pools] = []
"""A parent's connections in a forked child: letting go of them would wake the parent's loop."""


def _awaited(
    method: Callable[Concatenate[RewardClient, P], T],
) -> "Callable[Concatenate[AsyncRewardClient, P], Coroutine[Any, Any, T]]":
    """A method of `RewardClient` as a coroutine.

    Such a method makes a call and gives back what `self._run` gives, which here is awaitable.
    """

    @functools.wraps(method)
    async def awaited(self: "AsyncRewardClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await method(self, *args, **kwargs)  # type: ignore[arg-type, misc, no-any-return]

    awaited.__module__, awaited.__qualname__ = __name__, f"AsyncRewardClient.{method.__name__}"
    return awaited


class AsyncRewardClient(ClientBase):
    """Asks a rewardd server from coroutines, with connections kept open and failures retried.

    One may serve several event loops, each with connections of its own. It can be pickled and
    survives a fork. Arguments, methods and errors are those of `RewardClient`.
    """

    _pid: int
    _pools: _Pools

    score = _awaited(RewardClient.score)
    compare = _awaited(RewardClient.compare)
    ppo_reward = _awaited(RewardClient.ppo_reward)
    get_stream = _awaited(RewardClient.get_stream)
    put_stream = _awaited(RewardClient.put_stream)
    delete_stream = _awaited(RewardClient.delete_stream)
    list_streams = _awaited(RewardClient.list_streams)
    info = _awaited(RewardClient.info)

    async def score_iter(
        self,
        items: Iterable[object],
        *,
        truncate: Truncation = "error",
        stop: Sequence[str] = (),
        first_index: int = 0,
        max_in_flight: int = 2,
        on_item_error: OnItemError = "return",
    ) -> AsyncIterator[ScoreResult]:
        """As `RewardClient.score_iter`."""
        calls = line_calls(items, truncate=truncate, stop=stop, first_index=first_index)
        index = first_index
        async for results in self._in_order(calls, max_in_flight):
            for result in results:
                if on_item_error == "raise":
                    raise_failures([result], first_index=index)
                yield result
                index += 1

    async def ready(self) -> bool:
        """As `RewardClient.ready`."""
        try:
            return await self._run(wire.ready_call(), ONCE)
        except ServiceUnavailable:
            return False

    def within(self, seconds: float) -> Self:
        """As `RewardClient.within`."""
        limited = self.from_config(self.config.within(seconds))
        limited._pid, limited._pools = self._pid, self._pools
        return limited

    async def aclose(self) -> None:
        """Close this event loop's connections; the next call opens new ones."""
        if self._pid == os.getpid():
            pool = self._pools.get(asyncio.get_running_loop())
            if pool is not None:
                await pool.lifetime.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __setstate__(self, config: ClientConfig) -> None:
        super().__setstate__(config)
        self._pid = os.getpid()
        self._pools = {}

    async def _in_order(self, calls: Iterable[Call[T]], max_in_flight: int) -> AsyncIterator[T]:
        under_way: deque[asyncio.Task[T]] = deque()
        try:
            for call in calls:
                under_way.append(asyncio.create_task(self._run(call)))
                if len(under_way) == max_in_flight:
                    yield await under_way.popleft()
            while under_way:
                yield await under_way.popleft()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _run(self, call: Call[T], policy: RetryPolicy | None = None) -> T:
        conversation = self._exchange(call, policy)
        outcome: RawReply | Failure | None = None
        while True:
            try:
                step = conversation.send(outcome)
            except StopIteration as end:
                return conclude(call, *end.value)
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                outcome = None
            else:
                outcome = await self._send(call, step)

    async def _send(self, call: Call[T], send: Send) -> RawReply | Failure:
        try:
            async with asyncio.timeout(send.timeout_seconds):
                http = await self._client()
                response = await http.request(
                    call.method,
                    call.path,
                    content=call.content,
                    params=call.params,
                    headers=call.headers(send.timeout_seconds),
                    timeout=self.config.timeout(send.timeout_seconds),
                )
                return RawReply(response.status_code, response.headers, response.content)
        except (httpx.HTTPError, TimeoutError) as exc:
            return failure_of(exc)

    async def _client(self) -> httpx.AsyncClient:
        # Connections belong to one event loop of one process.
        if self._pid != os.getpid():
            _INHERITED.append(self._pools)
            self._pid, self._pools = os.getpid(), {}
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            for ended in [other for other in list(self._pools) if other.is_closed()]:
                # Closed without a farewell to its generators: the sockets go with the references.
                self._pools.pop(ended, None)
            http = httpx.AsyncClient(**self.config.http_options())
            pool = self._pools[loop] = _Pool(http, _closed_with(http, self._pools, loop))
            await anext(pool.lifetime)  # from here on the loop knows it
        return pool.http


async def _closed_with(
    http: httpx.AsyncClient, pools: _Pools, loop: asyncio.AbstractEventLoop
) -> AsyncGenerator[None, None]:
    """Close `http` and forget it when the generator is closed, by us or at the loop's end."""
    try:
        yield
    finally:
        pools.pop(loop, None)
        await http.aclose()
