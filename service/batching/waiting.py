"""Requests that wait for room: their texts go into the queue part by part, as there is some.

Nothing of a text is tokenised before it has its place, so that who waits costs its body alone.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from rm_core.rewards.rule import ScoredItem
from rm_core.types import RewardInput
from service.batching.admission import Admission
from service.batching.concurrency import ConcurrencyTracker
from service.batching.limits import RequestSize, SchedulerLimits
from service.batching.queue import PendingRequest
from service.batching.tokenizer_pool import Tokenised, TokenizerPool
from service.results import ItemFailure

Enqueue = Callable[[PendingRequest, int, RewardInput, Tokenised], None]
Settle = Callable[[PendingRequest, int, ScoredItem], None]


class WaitingRequests:
    """Feeds requests into the queue, in turn.

    A request of many texts stands in line anew for every few of them: one large request doesn't
    hold up all the small ones behind it. The lines of an NDJSON stream have one turn together.

    Args:
        admission: whose lines they stand in.
        tokenizers: of their texts.
        concurrency: counts a request from its first place on.
        enqueue: takes a text that has place and tokens: request, index, text, encoding.
        settle: takes a text whose rewards are known.
        limits: of requests; of those in dialects, which are served in parts, of each text.
    """

    def __init__(
        self,
        admission: Admission,
        tokenizers: TokenizerPool,
        concurrency: ConcurrencyTracker,
        enqueue: Enqueue,
        settle: Settle,
        limits: SchedulerLimits,
    ) -> None:
        self._admission = admission
        self._tokenizers = tokenizers
        self._concurrency = concurrency
        self._enqueue = enqueue
        self._settle = settle
        self._limits = limits
        self._unfed: set[PendingRequest] = set()

    def __len__(self) -> int:
        return self._admission.num_waiting

    @contextlib.asynccontextmanager
    async def feeding(
        self, request: PendingRequest, dialogues: Sequence[RewardInput]
    ) -> AsyncIterator[None]:
        """While in the block the request's texts go into the queue; at its end none do any more.

        Raises:
            QueueFull: the bodies that wait are as many bytes as may be.
        """
        with contextlib.ExitStack() as stack:
            # The lines of an NDJSON stream are held in its window, which bounds them.
            if request.submission.ndjson_stream is None:
                stack.enter_context(self._admission.waiting_body(request.submission.num_bytes))
            self._unfed.add(request)
            if request.submission.ndjson_stream is not None:
                # A line has no time that could be over meanwhile, and a task would cost it more.
                await self._feed(request, dialogues, stack)
                yield
                return
            task = asyncio.create_task(self._feed(request, dialogues, stack))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def fail(self, error: Exception) -> None:
        """Tell every request of which a text still waits for room that nothing will come."""
        for request in self._unfed:
            request.fail(error)

    async def _feed(
        self,
        request: PendingRequest,
        dialogues: Sequence[RewardInput],
        stack: contextlib.ExitStack,
    ) -> None:
        at_once = self._admission.places_at_once
        size = RequestSize(self._limits)
        try:
            for start in range(0, len(dialogues), at_once):
                part = dialogues[start : start + at_once]
                await self._admission.wait_for_items(len(part), request.flow, request.turn)
                if start == 0:
                    stack.enter_context(self._concurrency.member())
                await self._feed_part(request, part, start, size)
        except Exception as exc:
            request.fail(exc)  # whoever waits for the outcomes tells the caller
        finally:
            self._unfed.discard(request)

    async def _feed_part(
        self, request: PendingRequest, part: Sequence[RewardInput], start: int, size: RequestSize
    ) -> None:
        """Tokenise and queue texts that have their places."""
        unqueued = len(part)
        try:
            if request.is_over:  # it was told meanwhile that nothing will come
                return
            of = request.submission
            encoded = await self._tokenizers.encode(part, of.truncate, of.cache_scope, of.scorer)
            for index, (dialogue, text) in enumerate(zip(part, encoded, strict=True), start):
                if isinstance(text, ItemFailure):
                    request.settle(index, text)
                    continue
                own = RequestSize(self._limits) if of.ndjson_stream is None else size
                own.add([text.item], more_may_come=len(request.outcomes) > 1)
                if text.known is not None:
                    self._settle(request, index, text.known)
                    continue
                num_tokens = text.item.num_tokens
                await self._admission.wait_for_tokens(num_tokens, request.flow, request.turn)
                unqueued -= 1
                self._enqueue(request, index, dialogue, text)
        finally:
            if unqueued:
                self._admission.release_items(unqueued, request.flow, waited=True)
