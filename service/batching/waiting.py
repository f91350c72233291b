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
from service.batching.queue import PendingRequest
from service.batching.tokenizer_pool import Tokenised, TokenizerPool
from service.errors import RequestTooLarge
from service.results import ItemFailure

Enqueue = Callable[[PendingRequest, int, RewardInput, Tokenised], None]
Settle = Callable[[PendingRequest, int, ScoredItem], None]


class WaitingRequests:
    """Feeds requests into the queue in order of arrival.

    A request of many texts stands in line anew for every few of them: one large request doesn't
    hold up all the small ones behind it.

    Args:
        admission: whose lines they stand in.
        tokenizers: of their texts.
        concurrency: counts a request from its first place on.
        enqueue: takes a text that has place and tokens: request, index, text, encoding.
        settle: takes a text whose rewards are known.
        max_tokens: the most that one text may have.
    """

    def __init__(
        self,
        admission: Admission,
        tokenizers: TokenizerPool,
        concurrency: ConcurrencyTracker,
        enqueue: Enqueue,
        settle: Settle,
        *,
        max_tokens: int,
    ) -> None:
        self._admission = admission
        self._tokenizers = tokenizers
        self._concurrency = concurrency
        self._enqueue = enqueue
        self._settle = settle
        self._max_tokens = max_tokens
        self._unfed: set[PendingRequest] = set()

    def __len__(self) -> int:
        return len(self._admission.places) + len(self._admission.budget)

    @contextlib.asynccontextmanager
    async def feeding(
        self, request: PendingRequest, dialogues: Sequence[RewardInput]
    ) -> AsyncIterator[None]:
        """While in the block the request's texts go into the queue; at its end none do any more.

        Raises:
            QueueFull: the bodies that wait are as many bytes as may be.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._admission.waiting_body(request.submission.num_bytes))
            self._unfed.add(request)
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
        try:
            for start in range(0, len(dialogues), at_once):
                part = dialogues[start : start + at_once]
                await self._admission.places.join(len(part))
                if start == 0:
                    stack.enter_context(self._concurrency.member())
                await self._feed_part(request, part, start)
        except Exception as exc:
            request.fail(exc)  # whoever waits for the outcomes tells the caller
        finally:
            self._unfed.discard(request)

    async def _feed_part(
        self, request: PendingRequest, part: Sequence[RewardInput], start: int
    ) -> None:
        """Tokenise and queue texts that have their places."""
        unqueued = len(part)
        try:
            of = request.submission
            encoded = await self._tokenizers.encode(part, of.truncate, of.cache_scope, of.scorer)
            for index, (dialogue, text) in enumerate(zip(part, encoded, strict=True), start):
                if isinstance(text, ItemFailure):
                    request.settle(index, text)
                    continue
                if text.item.num_tokens > self._max_tokens:
                    raise RequestTooLarge(text.item.num_tokens, self._max_tokens)
                if text.known is not None:
                    self._settle(request, index, text.known)
                    continue
                await self._admission.budget.join(text.item.num_tokens)
                unqueued -= 1
                self._enqueue(request, index, dialogue, text)
        finally:
            self._admission.release_items(unqueued, waited=True)
