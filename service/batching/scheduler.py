"""Dynamic batching across requests: the mechanism around `rm_core.engine.packing.policy`'s policy.

Requests are admitted, tokenised in threads and wait as entries. One task takes packs of entries to
the device thread; while a pack runs, arrivals gather. Everything here happens on the event loop
except tokenising and the forward pass, so nothing needs a lock.
"""

import asyncio
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from rm_core.engine.packing.policy import QueuedSequence, TokenBudgetController
from rm_core.errors import EngineClosed
from rm_core.rewards.rule import ScoredItem
from rm_core.types import RewardInput, Scorer
from service.batching.admission import Admission
from service.batching.concurrency import ConcurrencyTracker
from service.batching.device_thread import DeviceThread
from service.batching.limits import RequestSize, SchedulerLimits
from service.batching.look_ahead import LookAhead
from service.batching.pack_queue import PackQueue
from service.batching.pack_runner import PackRunner
from service.batching.queue import Entry, PendingRequest, Submission
from service.batching.scorers_in_use import ScorersInUse
from service.batching.tokenizer_pool import Tokenised, TokenizerPool
from service.batching.waiting import WaitingRequests
from service.errors import DeadlineExceeded, QueueFull
from service.observability.logs import where
from service.observability.metrics import Metrics
from service.results import ItemFailure, ScoreOutcome
from service.watchdog.engine_watch import EngineWatch

_log = structlog.get_logger(__name__)


class Scheduler:
    """The queue before one scorer.

    Args:
        scorer: the loaded models, until they are replaced.
        limits: bounds of queue and packs.
        metrics: the app's instruments.
        clock: monotonic seconds.
        watch: of the engine's calls; by default one that guards no process.
    """

    def __init__(
        self,
        scorer: Scorer,
        limits: SchedulerLimits,
        metrics: Metrics,
        clock: Callable[[], float],
        watch: EngineWatch | None = None,
    ) -> None:
        self._scorer = scorer
        self._watch = watch or EngineWatch()
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._admission = Admission(
            limits.max_queue_items,
            limits.max_queue_tokens,
            limits.max_pack_tokens,
            max_pack_items=limits.max_pack_items,
            bulk_every_packs=limits.bulk_every_packs,
            max_waiting_bytes=limits.max_waiting_bytes,
        )
        self._cap = TokenBudgetController(limits.max_pack_tokens)
        self._queue = PackQueue(
            self._cap,
            limits.max_pack_items,
            limits.bulk_every_packs,
            lambda: self._scorer.shares_prefixes,
        )
        self._concurrency = ConcurrencyTracker(clock)
        self._scorers = ScorersInUse()
        self._tokenizers = TokenizerPool(scorer, limits.tokenizer_threads, metrics, self._watch)
        self._waiting = WaitingRequests(
            self._admission,
            self._tokenizers,
            self._concurrency,
            self._append,
            self._settle_known,
            limits,
        )
        self._device = DeviceThread()
        self._runner = PackRunner(
            scorer, self._device, self._admission, self._cap, metrics, clock, self._watch
        )
        self._order = itertools.count()
        self._running: list[Entry] = []
        self._arrived = asyncio.Event()
        self._ahead = LookAhead(self._queue, self._arrived, self._watch)
        self._pump: asyncio.Task[None] | None = None
        self._stopping = False
        self._over = False
        metrics.watch_waiting(lambda: len(self._waiting), lambda: self._admission.waiting_bytes)
        metrics.watch_queue(
            lambda: len(self._queue),
            lambda: self._queue.num_tokens,
            self._oldest_age,
        )

    def start(self) -> None:
        """Start the device thread and the task that feeds it; needs a running loop."""
        self._device.start()
        self._pump = asyncio.create_task(self._run(), name="rewardd-scheduler")

    async def close(self, timeout_seconds: float = 5.0) -> None:
        """Stop; whoever still waits gets EngineClosed."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        self.fail_all(EngineClosed("the service is stopping"))
        await self._device.close(timeout_seconds)

    def replace(self, scorer: Scorer) -> None:
        """Let another scorer answer whoever comes from now on.

        Requests that are there already keep the one that they came to, and no pack mixes the two.
        """
        self._scorer = scorer
        self._tokenizers.replace(scorer)
        self._runner.replace(scorer)
        self._watch.forget()

    async def until_unused(self, scorer: Scorer) -> None:
        """Wait until no request is left of a scorer that was replaced, nor any forward pass.

        Raises:
            EngineClosed: the device is gone.
        """
        await self._scorers.until_unused(scorer)
        # What was cancelled may still run; the thread does one thing after the other.
        await self._device.run(lambda: None)

    def stop_waiting(self) -> None:
        """Answer whoever waits, and whoever comes from now on; what the device has goes on."""
        self._stopping = True
        stopping = QueueFull("stopping", 1)
        self._waiting.fail(stopping)
        for entry in self._queue:
            entry.request.fail(stopping)

    @property
    def is_alive(self) -> bool:
        """Whether entries still get to the device."""
        return self.death is None and not self._over

    @property
    def death(self) -> str | None:
        """Which of what feeds the device has ended; None while all of it lives."""
        if not self._device.is_alive:
            return "the device thread has ended"
        if self._pump is None or self._pump.done():
            return "the task that feeds the device has ended"
        return None

    async def score(
        self,
        dialogues: Sequence[RewardInput],
        submission: Submission,
        *,
        patience_seconds: float,
    ) -> list[ScoreOutcome]:
        """Score dialogues; one that fails does so alone. Cancelling takes back what can be.

        Args:
            dialogues: what to score.
            submission: how they wait and are read; its deadline is on the scheduler's clock.
            patience_seconds: from now until the first item is begun; inf: as long as it takes.

        Returns:
            One outcome per dialogue, in order.

        Raises:
            QueueFull: no room, or too long a wait, or the service stops.
            RequestTooLarge: more tokens than one request may hold.
            DetailTooLarge: more rewards of tokens or steps than one reply may hold.
            DeadlineExceeded: the deadline passed.
            EngineClosed: the device is gone.
        """
        if not dialogues:
            return []
        self._require_open()
        scorer = submission.scorer or self._scorer
        with self._scorers.member(scorer):
            if submission.scorer is None:
                submission = replace(submission, scorer=scorer)
            return await self._admit(dialogues, submission, patience_seconds)

    async def _admit(
        self, dialogues: Sequence[RewardInput], submission: Submission, patience_seconds: float
    ) -> list[ScoreOutcome]:
        if submission.waits:
            request = PendingRequest.of(submission, len(dialogues))
            begin_before = self._clock() + patience_seconds
            try:
                async with self._waiting.feeding(request, dialogues):
                    return await self._finish(request, begin_before)
            finally:
                if request.unfinished:  # its caller left while it was fed
                    self._drop(request)
        with self._concurrency.member():
            return await self._score(dialogues, submission, patience_seconds)

    async def _score(
        self, dialogues: Sequence[RewardInput], submission: Submission, patience_seconds: float
    ) -> list[ScoreOutcome]:
        flow, deadline = submission.flow, submission.deadline
        now = self._clock()
        if deadline is not None and now + self._admission.wait_seconds(flow) >= deadline:
            raise DeadlineExceeded("admit")
        self._admission.admit_items(len(dialogues), flow, patience_seconds)
        unqueued = len(dialogues)
        try:
            texts = await self._tokenizers.encode(
                dialogues, submission.truncate, submission.cache_scope, submission.scorer
            )
            self._require_open()
            if deadline is not None and self._clock() >= deadline:
                raise DeadlineExceeded("queue")
            request = self._enqueue(dialogues, texts, submission)
            unqueued = len(dialogues) - request.unfinished
        finally:
            if unqueued:
                self._admission.release_items(unqueued, flow)
        return await self._finish(request, now + patience_seconds)

    def _require_open(self) -> None:
        if not self.is_alive:
            raise EngineClosed(self.death or "the engine was given up")
        if self._stopping:
            raise QueueFull("stopping", 1)

    def _enqueue(
        self,
        dialogues: Sequence[RewardInput],
        texts: Sequence[Tokenised | ItemFailure],
        submission: Submission,
    ) -> PendingRequest:
        encoded = [text for text in texts if isinstance(text, Tokenised)]
        RequestSize(self._limits).add(text.item for text in encoded)
        unknown = sum(text.item.num_tokens for text in encoded if text.known is None)
        self._admission.admit_tokens(unknown, submission.flow)
        request = PendingRequest.of(submission, len(dialogues))
        for index, text in enumerate(texts):
            if isinstance(text, ItemFailure):
                request.settle(index, text)
            elif text.known is not None:
                self._settle_known(request, index, text.known)
            else:
                self._append(request, index, dialogues[index], text)
        return request

    def _settle_known(self, request: PendingRequest, index: int, known: ScoredItem) -> None:
        """A text whose rewards are kept needs no place in the queue."""
        self._metrics.scored(request.submission.route, known.rewards, known.warnings)
        request.settle(index, known)

    def _append(
        self, request: PendingRequest, index: int, dialogue: RewardInput, text: Tokenised
    ) -> None:
        """Put a text that has its place and its tokens into the queue."""
        # The prompt names the group, so that its responses meet also across requests; but callers
        # who are kept apart share nothing, so that neither gains by the other's company.
        of = request.submission
        group = hash((of.cache_scope, dialogue.group_key))
        order, turn = next(self._order), self._queue.round_of(request)
        waiting = QueuedSequence(text.item, order, group, of.priority, of.caller, turn)
        self._queue.put(Entry(request, index, waiting, self._clock(), text.cached_tokens))
        if text.cached_tokens:
            self._admission.discount(text.cached_tokens, request.flow)
        self._arrived.set()

    async def _finish(self, request: PendingRequest, begin_before: float) -> list[ScoreOutcome]:
        """Wait until every entry has its outcome, or until waiting makes no sense."""
        loop = asyncio.get_running_loop()
        now, timers = self._clock(), []
        if begin_before < math.inf:
            timers.append(loop.call_later(begin_before - now, self._give_up_waiting, request))
        if (deadline := request.submission.deadline) is not None:
            timers.append(loop.call_later(deadline - now, self._expire, request))
        try:
            await request.done
        except asyncio.CancelledError:
            stage = "inference" if request.begun else "queue"
            self._metrics.cancelled.labels(stage).inc(request.unfinished)
            raise
        finally:
            for timer in timers:
                timer.cancel()
            if request.unfinished:
                self._drop(request)
        return request.results()

    def _give_up_waiting(self, request: PendingRequest) -> None:
        if not request.begun:
            retry_after = self._admission.retry_after(request.flow)
            request.fail(QueueFull("queue_wait", retry_after))

    def _expire(self, request: PendingRequest) -> None:
        request.fail(DeadlineExceeded("inference" if request.begun else "queue"))

    def _drop(self, request: PendingRequest) -> None:
        """Take a request's waiting entries out of the queue; those on the device stay there."""
        self._runner.release(self._queue.remove(request))

    def fail_all(self, error: Exception) -> None:
        """Tell whoever waits, in the queue or for a thread, and whoever comes: it is over."""
        self._over = True
        self._tokenizers.abandon()
        waiting = self._queue.clear()
        self._runner.release(waiting)
        self._waiting.fail(error)
        for entry in (*waiting, *self._running):
            entry.request.fail(error)
        self._running = []

    def _oldest_age(self) -> float:
        oldest = self._queue.oldest_admitted_at
        return 0.0 if oldest is None else self._clock() - oldest

    async def _run(self) -> None:
        """Feed the device until cancelled or until it is gone."""
        try:
            while True:
                if not self._queue:
                    self._arrived.clear()
                    await self._arrived.wait()
                    await self._gather()
                self._running = self._take_pack()
                looking = asyncio.create_task(self._ahead.go_on(), name="rewardd-lookahead")
                try:
                    await self._runner.run(self._running)
                finally:
                    looking.cancel()
                self._running = []
        except Exception as exc:
            _log.error("engine_ended", error=type(exc).__name__, where=where(exc))
            closed = isinstance(exc, EngineClosed)
            self.fail_all(exc if closed else EngineClosed("packs can't be chosen any more"))

    async def _gather(self) -> None:
        """An idle device waits a little for company, if there is any to expect.

        What comes within the wait meets in one pack, members of a group above all; where all of
        their prompts are cached that would save nothing. A caller who was alone lately doesn't
        wait, and whoever waited in vain is the last to do so.
        """
        try:
            async with asyncio.timeout(self._limits.max_wait_seconds):
                pack, tokens, counted = self._queue.new_cost(), 0, 0
                while True:
                    for entry in self._queue.since(counted):
                        tokens += pack.cost([entry.item])
                        pack.add(entry.item)
                    counted = len(self._queue)
                    if tokens >= self._cap.tokens or counted >= self._limits.max_pack_items:
                        return
                    callers = len({id(entry.request) for entry in self._queue})
                    if callers >= self._concurrency.expected:
                        return
                    if all(entry.has_cached_prompt for entry in self._queue):
                        return
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            self._concurrency.reset()

    def _take_pack(self) -> list[Entry]:
        pack = self._queue.take()
        now = self._clock()
        for entry in pack:
            entry.request.begun = True
            route = entry.request.submission.route
            self._metrics.queue_wait.labels(route).observe(now - entry.admitted_at)
        return pack
