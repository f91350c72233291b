"""Who is waited for when the service stops, and who is not; real processes: tests/chaos."""

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from service.edge.drain import Drain
from tests.service.rig import until


class Transport:
    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    def get_extra_info(self, _: str) -> socket.socket:
        return self._connection.ours

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        self._connection.end("cut")


class Connection:
    """A connection, of whose request `cycle` says how far it is; `ended` tells how it ended."""

    def __init__(self, at: set["Connection"], **cycle: bool) -> None:
        self._at = at
        at.add(self)
        self.ours, self.theirs = socket.socketpair()
        begun = {"response_complete": False, "response_started": False, "more_body": False}
        self.cycle = SimpleNamespace(**{**begun, **cycle}) if cycle else None
        self.flow = SimpleNamespace(write_paused=False)
        self.transport: Any = Transport(self)
        self.ended: str | None = None

    def shutdown(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.end("closed")

    def end(self, how: str) -> None:
        self._at.discard(self)
        self.ended = self.ended or how
        self.ours.close()
        self.theirs.close()


class Stopping:
    """A drain of a second, its connections and its requests."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.connections: set[Any] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.refused = asyncio.Event()
        self.at_once = asyncio.Event()
        scheduler = SimpleNamespace(stop_waiting=self.refused.set)
        self.state: Any = SimpleNamespace(last_call=asyncio.Event(), scheduler=scheduler)
        self.drain = Drain(self.connections, self.tasks, self.state, seconds)

    def connection(self, **cycle: bool) -> Connection:
        return Connection(self.connections, **cycle)

    def request(self, work: Any) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def run(self) -> bool:
        return await self.drain.run(self.at_once)


async def test_who_is_idle_is_closed_and_streams_have_their_last_call() -> None:
    at = Stopping(seconds=600)
    new, answered = at.connection(), at.connection(response_complete=True)

    assert await at.run()

    assert (new.ended, answered.ended) == ("closed", "closed")
    assert at.state.last_call.is_set()
    assert not at.refused.is_set()


async def test_a_request_that_came_before_its_connection_was_closed_is_accepted() -> None:
    at = Stopping(seconds=600)
    idle = at.connection()
    idle.theirs.sendall(b"POST /score")
    running = asyncio.create_task(at.run())
    await asyncio.sleep(0.05)
    assert idle.ended is None

    idle.ours.recv(100)  # as the event loop would read it

    assert await running
    assert idle.ended == "closed"


async def test_requests_are_waited_for_without_connections_too() -> None:
    at = Stopping(seconds=600)
    done = asyncio.Event()
    at.request(done.wait())
    running = asyncio.create_task(at.run())
    await asyncio.sleep(0.05)
    assert not running.done()

    done.set()

    assert await running


async def test_who_waits_is_refused_before_the_time_is_over() -> None:
    at = Stopping()
    working = at.connection(more_body=False)
    running = asyncio.create_task(at.run())
    await at.refused.wait()
    working.cycle.response_complete = True

    assert await running
    assert working.ended == "closed"


@pytest.mark.parametrize("slow", ["taking", "sending", "closing"])
async def test_slow_peers_are_cut_off_in_time_and_are_nobody_we_owe_an_answer(slow: str) -> None:
    at = Stopping(seconds=0.2)
    if slow == "taking":
        peer = at.connection(response_started=True)
        peer.flow.write_paused = True
    elif slow == "sending":
        peer = at.connection(more_body=True)
    else:
        peer = at.connection(response_complete=True)
        peer.shutdown = lambda: None  # type: ignore[method-assign]  # its buffer is not empty

    assert await at.run()
    assert peer.ended == "cut"


async def test_a_request_at_work_when_the_time_is_over_is_told() -> None:
    at = Stopping(seconds=0.1)
    working = at.connection(more_body=False)
    task = at.request(asyncio.Event().wait())

    assert not await at.run()
    assert working.ended == "cut"
    assert task.cancelled()


async def test_who_will_not_wait_ends_it_at_once() -> None:
    at = Stopping(seconds=600)
    working = at.connection(more_body=False)
    running = asyncio.create_task(at.run())
    await until(at.state.last_call.is_set)

    at.at_once.set()

    assert not await running
    assert working.ended == "cut"
