import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from rm_core.errors import EngineClosed
from service.watchdog import watchdog as module
from service.watchdog.last_resort import GRACE_SECONDS
from service.watchdog.running_clock import RunningClock
from service.watchdog.watchdog import EXIT_CODE, Watchdog
from tests.service.watchdog.timer import Timer

ENDS_SOON = 0.01


class Process:
    """A process that would end, and what it serves."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.codes: list[int] = []
        self.death: str | None = None
        self.told: list[Exception] = []
        self.told_in: list[str] = []
        self.num_unanswered = 1
        self.answers = True
        self.watchdog = Watchdog(self.end)
        self.watchdog.attend(self, asyncio.get_running_loop(), lambda: self.num_unanswered)

    def end(self, code: int) -> None:
        self.codes.append(code)
        self.ended.set()

    def fail_all(self, error: Exception) -> None:
        self.told.append(error)
        self.told_in.append(threading.current_thread().name)
        if self.answers:
            self.num_unanswered = 0

    async def end_is_seen(self) -> bool:
        return await asyncio.to_thread(self.ended.wait, 20)


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch) -> Timer:
    return Timer(monkeypatch)


@pytest.fixture
async def process(timer: Timer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Process]:
    monkeypatch.setattr(module, "_TICK_SECONDS", 0.02)
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
    process = Process()
    yield process
    await asyncio.to_thread(process.watchdog.stop)


def fails() -> None:
    raise ZeroDivisionError


def test_a_call_is_overdue_when_it_has_taken_longer_than_it_may_and_only_while_it_runs() -> None:
    watchdog = Watchdog()

    with watchdog.watch("forward", 60.0):
        assert watchdog.cause is None
        with watchdog.watch("tokenize", -1.0):
            assert watchdog.cause == ("tokenize in thread MainThread has not ended within -1.0 s")
        assert watchdog.cause is None
    with pytest.raises(ZeroDivisionError), watchdog.watch("forward", -1.0):
        fails()
    assert watchdog.cause is None


async def test_a_call_that_hangs_ends_the_process_once_whoever_waits_is_told(
    process: Process,
) -> None:
    process.watchdog.start()
    process.watchdog.start()  # the same

    with capture_logs() as logs, process.watchdog.watch("forward", ENDS_SOON):
        assert await process.end_is_seen()

    assert process.codes == [EXIT_CODE]
    (error,) = process.told
    assert isinstance(error, EngineClosed)
    assert process.told_in == [threading.current_thread().name]  # on the event loop
    (event,) = logs
    assert (event["event"], event["log_level"]) == ("engine_dead", "critical")
    assert event["cause"] == str(error)
    assert event["exit_code"] == EXIT_CODE
    assert any(name.startswith("MainThread") for name in event["stacks"])


async def test_a_dead_thread_ends_the_process(process: Process) -> None:
    process.watchdog.start()
    process.death = "the thread has ended"

    assert await process.end_is_seen()

    assert process.watchdog.cause == "the thread has ended"
    assert process.codes == [EXIT_CODE]


async def test_a_thread_that_is_meant_to_end_does_not(process: Process) -> None:
    process.watchdog.start()
    process.watchdog.leave()
    process.death = "the thread has ended"

    await asyncio.sleep(0.1)

    assert process.watchdog.cause is None
    assert process.codes == []


async def test_a_stop_right_after_the_start_counts_as_little_as_any(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TICK_SECONDS", 60.0)
    now = 0.0
    process.watchdog.clock = RunningClock(1.0, lambda: now)
    process.watchdog.start()
    began = process.watchdog.clock()

    now = 100.0

    assert process.watchdog.clock() - began <= 1.0


async def test_who_is_not_answered_in_time_is_not_waited_for(process: Process) -> None:
    process.answers = False
    process.watchdog.start()
    process.death = "the thread has ended"

    assert await process.end_is_seen()

    assert process.num_unanswered == 1


async def test_a_loop_that_is_closed_can_not_be_told_and_the_process_ends(
    process: Process,
) -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    process.watchdog.attend(process, loop, lambda: 0)
    process.watchdog.start()
    process.death = "the thread has ended"

    assert await process.end_is_seen()

    assert process.told == []


async def test_a_process_that_is_not_guarded_only_tells(process: Process, timer: Timer) -> None:
    with process.watchdog.watch("forward", ENDS_SOON):
        await asyncio.sleep(0.1)
        assert process.watchdog.cause is not None

    assert process.codes == []
    assert timer.set == []


async def test_the_timer_of_c_stands_behind_calls_of_the_engine_alone(
    process: Process, timer: Timer
) -> None:
    process.watchdog.start()
    with process.watchdog.watch("event_loop", 60.0):
        await asyncio.sleep(0.1)
    assert timer.set == []

    with process.watchdog.watch("forward", 60.0):
        assert timer.set == [
            pytest.approx(60.0 + GRACE_SECONDS, abs=5.0)
        ]  # at once: no look may ever come
        await asyncio.sleep(0.1)
    *ran, after = timer.set
    assert all(60.0 <= seconds <= 60.0 + GRACE_SECONDS for seconds in ran)
    assert after == float("inf")  # at once: the process may be stopped before another look


async def test_the_orderly_end_is_bounded_by_the_timer_of_c(process: Process, timer: Timer) -> None:
    process.watchdog.start()
    process.death = "the thread has ended"

    assert await process.end_is_seen()

    assert timer.set[-1] < 10.0
