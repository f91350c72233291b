"""AReaL's queue of worker processes in front of a server that hangs: never a silent 0.

AReaL's part is played by `judge`, by what its wrapper does (read at AReaL 4aef98d8d): a call waits
for a process and its answer together; a late one is tried again, four times in all, and is 0 in
the end, where an exception of the fourth try is raised. Its 15 s are a tenth here.
"""

import asyncio
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest

from rm_client import ServiceUnavailable
from rm_client.adapters import areal
from rm_client.adapters.areal import BUDGET_SECONDS, PATIENCE_BUDGETS, areal_reward
from tests.rm_client.examples import scored
from tests.rm_client.servers import hang, reply, scripted_server

TIMEOUT_SECONDS = 1.5
BUDGET = 1.4
TRIES = 4


async def judge(pool: ProcessPoolExecutor, function: Callable[..., float], text: str) -> float:
    for last in (False, False, False, True):
        call = partial(function, "p", text, [1], [2], answer="row")
        try:
            running = asyncio.get_running_loop().run_in_executor(pool, call)
            return await asyncio.wait_for(running, TIMEOUT_SECONDS)
        except TimeoutError:
            if last:
                return 0.0
        except Exception:
            if last:
                raise
    raise AssertionError


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """One process that has imported what it needs, as in the middle of a run."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as workers:
        assert workers.submit(areal_reward, "http://h").result(60)
        yield workers


async def test_a_hanging_server_is_an_exception_for_every_sample_of_a_queue(
    pool: ProcessPoolExecutor,
) -> None:
    with scripted_server(hang) as server:
        function = areal_reward(server.url, budget_seconds=BUDGET)
        samples = [judge(pool, function, f"r{number}") for number in range(4)]
        found = await asyncio.gather(*samples, return_exceptions=True)
    assert all(isinstance(one, ServiceUnavailable) for one in found), found


async def test_a_server_that_comes_back_in_time_costs_no_sample_its_reward(
    pool: ProcessPoolExecutor,
) -> None:
    answer = reply(200, {"items": [scored(0.5)]})
    with scripted_server(hang, answer) as server:
        function = areal_reward(server.url, budget_seconds=BUDGET)
        samples = [judge(pool, function, f"r{number}") for number in range(4)]
        found = await asyncio.gather(*samples)
    assert found == [0.5] * 4


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("num_samples", [1, 2, 4, 40])
@pytest.mark.parametrize("num_processes", [1, 2, 3])
def test_no_last_try_is_ever_late_however_long_the_queue(
    num_samples: int, num_processes: int
) -> None:
    """The same at full scale, event by event, in each of the processes' own view of time."""
    clock = Clock()
    watches = [areal._Watch(BUDGET_SECONDS, clock) for _ in range(num_processes)]
    free_at = [clock.now] * num_processes
    queue = [(clock.now, sample, 1) for sample in range(num_samples)]  # submitted, whose, which try
    raised = set()
    while queue:
        queue.sort()
        submitted, sample, number = queue.pop(0)
        worker = min(range(num_processes), key=free_at.__getitem__)
        clock.now = begun = max(free_at[worker], submitted)
        deadline = submitted + 15.0
        if begun >= deadline:  # cancelled before a process took it
            assert number < TRIES, "a silent 0"
            queue.append((deadline, sample, number + 1))
            continue
        seconds = watches[worker].allowed_seconds(begun)
        clock.now = free_at[worker] = begun + max(seconds, 0.001)
        if seconds > 0.0:
            watches[worker].note_silence(begun)
        assert number < TRIES or clock.now < deadline, "a silent 0"
        if number == TRIES:
            raised.add(sample)
        else:
            queue.append((min(clock.now, deadline), sample, number + 1))
    assert raised == set(range(num_samples))


def test_after_the_patience_one_call_in_a_budgets_time_asks_and_an_answer_ends_it() -> None:
    clock = Clock()
    watch = areal._Watch(10.0, clock)
    assert watch.allowed_seconds(clock.now) == 10.0
    watch.note_silence(clock.now)
    clock.now += 10.0 * PATIENCE_BUDGETS - 4.0
    assert watch.allowed_seconds(clock.now) == pytest.approx(4.0)
    watch.note_silence(clock.now)
    clock.now += 5.0
    assert watch.allowed_seconds(clock.now) == 0.0
    clock.now += 5.0
    assert [watch.allowed_seconds(clock.now) for _ in range(3)] == [10.0, 0.0, 0.0]
    watch.note_answer()
    assert watch.allowed_seconds(clock.now) == 10.0
