"""The client for event loops; what it does is in `rm_client.client`, method for method."""

import asyncio
import os
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from rm_client import wire
from rm_client.checks import ScoreResult, raise_failures
from rm_client.client import ONCE, OnItemError
from rm_client.config import (
    DEFAULT_CONNECT_TIMEOUT_SECONDS,
    DEFAULT_MAX_CONNECTIONS,
    DEFAULT_TIMEOUT_SECONDS,
    ClientConfig,
    failure_of,
)
from rm_client.errors import ServiceUnavailable
from rm_client.lines import line_calls
from rm_client.models import (
    AdvantageKind,
    CompareReply,
    DetailKind,
    ScoreReply,
    StepAggregation,
    Truncation,
)
from rm_client.models_ppo import (
    DEFAULT_BETA,
    DEFAULT_STREAM,
    ExpectVersion,
    KLEstimator,
    PpoReply,
    StreamReply,
    StreamSnapshot,
    WhitenMode,
    WhitenOptions,
)
from rm_client.retry import Failure, Pause, RawReply, RetryPolicy, Send, exchange

T = TypeVar("T")

_Pools = weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient]


class AsyncRewardClient:
    """Asks a rewardd server from coroutines, with connections kept open and failures retried.

    One may serve several event loops, each with connections of its own. It can be pickled and
    survives a fork. Errors are those of `RewardClient`.

    Args:
        url: the server's address ("http://rewards:8000").
        api_key: if the server wants one.
        timeout_seconds: for one attempt.
        connect_timeout_seconds: of it, for the connection.
        retry: how often and how patiently a call is repeated.
        max_connections: open at a time, per event loop.
        verify: whether to check the server's certificate.
        trust_env: whether HTTP_PROXY and its kin are obeyed.
    """

    config: ClientConfig
    _pid: int
    _pools: _Pools

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        connect_timeout_seconds: float = DEFAULT_CONNECT_TIMEOUT_SECONDS,
        retry: RetryPolicy | None = None,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
        verify: bool = True,
        trust_env: bool = True,
    ) -> None:
        self.__setstate__(
            ClientConfig(
                url=url,
                api_key=api_key,
                timeout_seconds=timeout_seconds,
                connect_timeout_seconds=connect_timeout_seconds,
                retry=retry or RetryPolicy(),
                max_connections=max_connections,
                verify=verify,
                trust_env=trust_env,
            )
        )

    @classmethod
    def from_config(cls, config: ClientConfig) -> Self:
        """A client of these settings."""
        client = cls.__new__(cls)
        client.__setstate__(config)
        return client

    async def score(
        self,
        items: Iterable[object],
        *,
        truncate: Truncation = "error",
        detail: DetailKind | None = None,
        step_separator: str = "\n\n",
        aggregation: StepAggregation = "min",
        advantages: AdvantageKind = "grpo",
        on_item_error: OnItemError = "return",
    ) -> ScoreReply:
        """As `RewardClient.score`."""
        reply = await self._run(
            wire.score_call(
                items,
                truncate,
                detail=detail,
                step_separator=step_separator,
                aggregation=aggregation,
                advantages=advantages,
            )
        )
        if on_item_error == "raise":
            raise_failures(reply.items)
        return reply

    async def score_iter(
        self,
        items: Iterable[object],
        *,
        truncate: Truncation = "error",
        first_index: int = 0,
        max_in_flight: int = 2,
        on_item_error: OnItemError = "return",
    ) -> AsyncIterator[ScoreResult]:
        """As `RewardClient.score_iter`."""
        calls = line_calls(items, truncate=truncate, first_index=first_index)
        index = first_index
        async for results in self._in_order(calls, max_in_flight):
            for result in results:
                if on_item_error == "raise":
                    raise_failures([result], first_index=index)
                yield result
                index += 1

    async def compare(
        self,
        items: Iterable[object],
        *,
        truncate: Truncation = "error",
        on_item_error: OnItemError = "return",
    ) -> CompareReply:
        """As `RewardClient.compare`."""
        reply = await self._run(wire.compare_call(items, truncate))
        if on_item_error == "raise":
            raise_failures(reply.items)
        return reply

    async def ppo_reward(  # noqa: PLR0913 (the request's own fields)
        self,
        items: Iterable[object],
        *,
        stream: str = DEFAULT_STREAM,
        beta: float = DEFAULT_BETA,
        kl_estimator: KLEstimator = "k1",
        whiten: WhitenOptions | WhitenMode = "running",
        missing_eos_penalty: float = 0.0,
        expect_version: ExpectVersion | None = None,
        truncate: Truncation = "error",
        idempotency_key: str | None = None,
        on_item_error: OnItemError = "return",
    ) -> PpoReply:
        """As `RewardClient.ppo_reward`."""
        call = wire.ppo_call(
            items,
            stream=stream,
            beta=beta,
            kl_estimator=kl_estimator,
            whiten=whiten,
            missing_eos_penalty=missing_eos_penalty,
            expect_version=expect_version,
            truncate=truncate,
            idempotency_key=idempotency_key,
        )
        reply = await self._run(call)
        if on_item_error == "raise":
            raise_failures(reply.items)
        return reply

    async def get_stream(self, name: str) -> StreamReply:
        """As `RewardClient.get_stream`."""
        return await self._run(wire.get_stream_call(name))

    async def put_stream(self, name: str, snapshot: StreamSnapshot) -> StreamReply:
        """As `RewardClient.put_stream`."""
        return await self._run(wire.put_stream_call(name, snapshot))

    async def delete_stream(self, name: str, *, forget: bool = False) -> StreamReply | None:
        """As `RewardClient.delete_stream`."""
        return await self._run(wire.delete_stream_call(name, forget=forget))

    async def list_streams(self) -> list[StreamReply]:
        """As `RewardClient.list_streams`."""
        return await self._run(wire.list_streams_call())

    async def info(self) -> dict[str, Any]:
        """As `RewardClient.info`."""
        return await self._run(wire.info_call())

    async def ready(self) -> bool:
        """As `RewardClient.ready`."""
        try:
            return await self._run(wire.ready_call(), ONCE)
        except ServiceUnavailable:
            return False

    async def aclose(self) -> None:
        """Close this event loop's connections; the next call opens new ones."""
        if self._pid == os.getpid():
            http = self._pools.pop(asyncio.get_running_loop(), None)
            if http is not None:
                await http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __getstate__(self) -> ClientConfig:
        return self.config

    def __setstate__(self, config: ClientConfig) -> None:
        self.config = config
        self._pid = os.getpid()
        self._pools = weakref.WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config.url!r})"

    async def _in_order(
        self, calls: Iterable[wire.Call[T]], max_in_flight: int
    ) -> AsyncIterator[T]:
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

    async def _run(self, call: wire.Call[T], policy: RetryPolicy | None = None) -> T:
        conversation = exchange(
            call.name,
            policy or self.config.retry,
            timeout_seconds=self.config.timeout_seconds,
            repeatable=call.repeatable,
            clock=time.monotonic,
            idempotency_key=call.idempotency_key,
        )
        outcome: RawReply | Failure | None = None
        while True:
            try:
                step = conversation.send(outcome)
            except StopIteration as end:
                return wire.conclude(call, *end.value)
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                outcome = None
            else:
                outcome = await self._send(call, step)

    async def _send(self, call: wire.Call[T], send: Send) -> RawReply | Failure:
        try:
            async with asyncio.timeout(send.timeout_seconds):
                response = await self._client().request(
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

    def _client(self) -> httpx.AsyncClient:
        # Connections belong to one event loop of one process.
        if self._pid != os.getpid():
            self._pid, self._pools = os.getpid(), weakref.WeakKeyDictionary()
        loop = asyncio.get_running_loop()
        http = self._pools.get(loop)
        if http is None:
            http = self._pools[loop] = httpx.AsyncClient(**self.config.http_options())
        return http
