"""Sends a workload by its schedule and notes when everything happened; scores nothing.

Latency is counted from the *intended* time: a request that went late because the generator, or a
server that blocked it, was busy is charged for the delay.
"""

import asyncio
import contextlib
import gc
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from loadtest.connections import ConnectionFailed, Connections, Origin, Reply, request_bytes
from loadtest.errors import LoadTestError, PeerError
from loadtest.peers.contract import Peer
from loadtest.schedule import OpenLoop, Schedule
from loadtest.workloads import Request, Workload

MAX_CONNECTIONS_BEFOREHAND = 256
LEAD_SECONDS = 0.05
_SPIN_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server of the target.

    Attributes:
        origin: where it listens.
        model: the model's name where the contract wants one.
        role: of its model, where the server doesn't say.
        session: that its processes run in; None where it wasn't started here.
    """

    origin: Origin
    model: str = "reward"
    role: str = "safety"
    session: int | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """What is measured: one server, or one for each model, asked at the same time.

    Attributes:
        peer: the adapter.
        endpoints: its servers.
        headers: sent with every request; an API key, say.
    """

    peer: Peer
    endpoints: tuple[Endpoint, ...]
    headers: Mapping[str, str]

    def requests(self, request: Request) -> list[bytes]:
        """The bytes for each endpoint."""
        return [
            request_bytes(
                endpoint.origin,
                self.peer.path,
                self.peer.encoded(request, endpoint.model),
                headers=dict(self.headers),
            )
            for endpoint in self.endpoints
        ]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came of it; times are seconds after the start.

    Attributes:
        index: of the request in its workload.
        intended: when it should have been sent.
        sent: when it was.
        done: when the last endpoint had answered or failed.
        replies: one per endpoint; empty if any connection failed.
        failure: why there are none.
    """

    index: int
    intended: float
    sent: float
    done: float
    replies: tuple[Reply, ...]
    failure: str = ""


class Generator:
    """Sends prepared requests to a target.

    Args:
        target: whom to ask.
        core: the processor core to run on while sending; None leaves that to the system.
        timeout_seconds: for one exchange.
    """

    def __init__(
        self, target: Target, *, core: int | None = None, timeout_seconds: float = 600.0
    ) -> None:
        self._target = target
        self._core = core
        self._timeout_seconds = timeout_seconds

    def run(self, workload: Workload, schedule: Schedule) -> list[Exchange]:
        """Send everything and wait for everything.

        Returns:
            One exchange per request, in the order of the workload.
        """
        if isinstance(schedule, OpenLoop) and len(schedule.times) != len(workload.requests):
            raise LoadTestError("the schedule and the workload differ in length: this is a bug")
        prepared = [self._target.requests(request) for request in workload.requests]
        with _pinned(self._core), _no_garbage_collection():
            return asyncio.run(self._run(prepared, schedule))

    async def _run(self, prepared: Sequence[list[bytes]], schedule: Schedule) -> list[Exchange]:
        pools = [
            Connections(endpoint.origin, timeout_seconds=self._timeout_seconds)
            for endpoint in self._target.endpoints
        ]
        sending = _Sending(prepared, pools)
        at_once = len(prepared) if isinstance(schedule, OpenLoop) else schedule.clients
        try:
            with contextlib.suppress(ConnectionFailed):  # the requests themselves will tell
                for pool in pools:
                    await pool.open(min(at_once, MAX_CONNECTIONS_BEFOREHAND))
            sending.begin()
            if isinstance(schedule, OpenLoop):
                exchanges = await sending.by_times(schedule.times)
            else:
                exchanges = await sending.by_clients(schedule.clients)
        finally:
            for pool in pools:
                pool.close()
        return sorted(exchanges, key=lambda exchange: exchange.index)


class _Sending:
    """One run's requests on their way."""

    def __init__(self, prepared: Sequence[list[bytes]], pools: Sequence[Connections]) -> None:
        self._prepared = prepared
        self._pools = pools
        self._start = 0.0

    def begin(self) -> None:
        self._start = time.perf_counter() + LEAD_SECONDS

    async def by_times(self, times: Sequence[float]) -> list[Exchange]:
        tasks: list[asyncio.Task[Exchange]] = []
        for index, intended in enumerate(times):
            await self._until(intended)
            tasks.append(asyncio.create_task(self._exchange(index, intended)))
        return await asyncio.gather(*tasks)

    async def by_clients(self, clients: int) -> list[Exchange]:
        found = await asyncio.gather(*(self._client(n, clients) for n in range(clients)))
        return [exchange for exchanges in found for exchange in exchanges]

    async def _client(self, number: int, clients: int) -> list[Exchange]:
        await self._until(0.0)
        exchanges: list[Exchange] = []
        intended = 0.0
        for index in range(number, len(self._prepared), clients):
            exchanges.append(await self._exchange(index, intended))
            intended = exchanges[-1].done
        return exchanges

    async def _exchange(self, index: int, intended: float) -> Exchange:
        sent = self._now()
        try:
            replies = await asyncio.gather(
                *(
                    pool.exchange(request)
                    for pool, request in zip(self._pools, self._prepared[index], strict=True)
                )
            )
        except ConnectionFailed as exc:
            return Exchange(index, intended, sent, self._now(), (), str(exc))
        return Exchange(index, intended, sent, self._now(), tuple(replies))

    def _now(self) -> float:
        return time.perf_counter() - self._start

    async def _until(self, moment: float) -> None:
        # The event loop's timers are a millisecond coarse: the last one is spun through.
        while (left := moment - self._now()) > 0:  # noqa: ASYNC110 - a moment, not an event
            await asyncio.sleep(left - _SPIN_SECONDS if left > _SPIN_SECONDS else 0)


def wait_until_ready(target: Target, *, timeout_seconds: float) -> None:
    """Wait until every endpoint says it can work.

    Raises:
        PeerError: not in time.
    """
    asyncio.run(_wait_until_ready(target, timeout_seconds))


async def _wait_until_ready(target: Target, timeout_seconds: float) -> None:
    for endpoint in target.endpoints:
        pool = Connections(endpoint.origin, timeout_seconds=30.0)
        path = target.peer.health or "/"
        request = request_bytes(endpoint.origin, path, None, headers=dict(target.headers))
        try:
            async with asyncio.timeout(timeout_seconds):
                # Where there is no health route, any answer at all means that it listens.
                any_status = not target.peer.health
                while not await _is_ready(pool, request, any_status=any_status):  # noqa: ASYNC110 - in another process
                    await asyncio.sleep(0.1)
        except TimeoutError as exc:
            raise PeerError(
                f"{target.peer.name} at {endpoint.origin.host}:{endpoint.origin.port} is not "
                f"ready after {timeout_seconds:.0f} s"
            ) from exc
        finally:
            pool.close()


async def _is_ready(pool: Connections, request: bytes, *, any_status: bool) -> bool:
    try:
        status = (await pool.exchange(request)).status
    except ConnectionFailed:
        return False
    return any_status or status == 200


@contextlib.contextmanager
def _pinned(core: int | None) -> Iterator[None]:
    if core is None:
        yield
        return
    if not hasattr(os, "sched_setaffinity"):
        raise LoadTestError("this system can't pin a process to a core; leave --core out")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {core})
    except OSError as exc:
        raise LoadTestError(f"there is no core {core} for the generator") from exc
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A collection takes milliseconds, which would be the generator's and not the server's."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
