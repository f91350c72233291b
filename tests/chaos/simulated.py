"""The real scheduler in simulated time: a device whose packs take what a formula says, no threads.

Minutes of load pass in seconds and the same way each time, as the event loop's clock jumps to
whatever is due next instead of waiting for it.
"""

import asyncio
import math
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from rm_core.types import Dialogue, EncodedItem, ItemRewards
from service.batching.limits import SchedulerLimits
from service.batching.queue import Submission
from service.batching.scheduler import Scheduler
from service.observability.metrics import Metrics
from tests.fakes import FakeScorer
from tests.service.rig import LIMITS

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    """Looks for what is there, and lets the loop's clock jump where nothing is."""

    loop: "SimulatedTime"

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if found or timeout == 0:
            return found
        if timeout is None:
            raise AssertionError("everybody waits for somebody else")
        self.loop.now += timeout
        return []


class SimulatedTime(asyncio.SelectorEventLoop):
    """An event loop whose time passes only where nothing is to be done."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = _Jumping()
        super().__init__(selector)
        selector.loop = self

    def time(self) -> float:
        return self.now


class _Inline(ThreadPoolExecutor):
    """Does what threads would do, at once."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as exc:
            done.set_exception(exc)
        return done


class TimedScorer(FakeScorer):
    """A pack takes `per_pack` seconds, and `per_item` for each text, `per_token` for each token."""

    per_pack, per_item, per_token = 0.02, 0.0, 0.001

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self.busy = 0.0

    def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
        tokens = sum(item.num_tokens for item in items)
        self.seconds = self.per_pack + len(items) * self.per_item + tokens * self.per_token
        self.busy += self.seconds
        return super().forward(items)


class _Device:
    """Stands for the device thread; its work is done at once and takes its time."""

    is_alive = True
    busy_seconds = 0.0

    def __init__(self, scorer: TimedScorer) -> None:
        self._scorer = scorer

    def start(self) -> None:
        """Nothing to start."""

    async def run(self, work: Callable[[], T]) -> T:
        result = work()
        await asyncio.sleep(self._scorer.seconds)
        return result

    async def close(self, timeout_seconds: float) -> None:
        """Nothing to end."""


class Simulation:
    """A scheduler at work, and callers of it."""

    def __init__(self, scorer: TimedScorer | None = None, **limits: Any) -> None:
        self.scorer = scorer or TimedScorer()
        self.metrics = Metrics()
        loop = asyncio.get_running_loop()
        loop.set_default_executor(_Inline())
        self.now = loop.time
        given = {"max_pack_items": 32, "max_waiting_bytes": 2**40, **limits}
        bounds = SchedulerLimits(**{**LIMITS, **given})
        self.scheduler = Scheduler(self.scorer, bounds, self.metrics, loop.time)
        device: Any = _Device(self.scorer)
        self.scheduler._device = self.scheduler._runner._device = device
        self.scheduler._tokenizers._pool = _Inline()
        self._count = 0

    async def __aenter__(self) -> "Simulation":
        self.scheduler.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.scheduler.close()
        assert (self.scheduler._admission.items, self.scheduler._admission.tokens) == (0, 0)

    async def score(
        self, words: int = 9, *, texts: int = 1, patience: float = math.inf, **options: Any
    ) -> None:
        """Have texts of so many words (and one more) scored, never seen before."""
        dialogues = []
        for _ in range(texts):
            self._count += 1
            dialogues.append(Dialogue(f"p{self._count}", "w " * words))
        submission = Submission("/score", **options)
        outcomes = await self.scheduler.score(dialogues, submission, patience_seconds=patience)
        assert len(outcomes) == texts

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def simulate(scenario: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a scenario from the beginning of time to its end."""
    with asyncio.Runner(loop_factory=SimulatedTime) as runner:
        return runner.run(scenario())


async def again_and_again(
    seconds: float, once: Callable[[], Awaitable[object]], *, at_once: int = 1
) -> int:
    """Do something over and over, so many at once, until the time is over; how often it went."""
    done = 0

    async def worker() -> None:
        nonlocal done
        while True:
            await once()
            done += 1

    workers = [asyncio.create_task(worker()) for _ in range(at_once)]
    await asyncio.wait(workers, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for one in workers:
        one.cancel()
    for result in await asyncio.gather(*workers, return_exceptions=True):
        if not isinstance(result, asyncio.CancelledError):
            raise AssertionError("a caller gave up") from result
    return done
