"""Texts to token ids in threads, off the event loop, and what the caches hold of them."""

import asyncio
import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import structlog

from rm_core.errors import EngineClosed, InputError, InputTooLong
from rm_core.rewards.rule import ScoredItem
from rm_core.types import EncodedItem, RewardInput, Scorer, Truncation
from service.observability.metrics import Metrics
from service.problems import detail_of, status_of
from service.results import ItemFailure
from service.watchdog.engine_watch import EngineWatch

# Small enough that threads share a request and a cancelled one stops soon.
_DIALOGUES_PER_CALL = 16

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tokenised:
    """A text as it was tokenised, and what the engine's caches held of it.

    Attributes:
        item: its encoding.
        cached_tokens: how many of its leading tokens need not be computed.
        known: its rewards, where they were kept.
    """

    item: EncodedItem
    cached_tokens: int = 0
    known: ScoredItem | None = None


class TokenizerPool:
    """Encodes dialogues; a dialogue that can't be encoded fails alone.

    Args:
        scorer: of those who name none; its `encode` is thread-safe.
        threads: how many encode at the same time.
        metrics: counts failures.
        watch: of the threads.
    """

    def __init__(self, scorer: Scorer, threads: int, metrics: Metrics, watch: EngineWatch) -> None:
        self._scorer = scorer
        self._metrics = metrics
        self._watch = watch
        self._calls: set[asyncio.Future[list[Tokenised | ItemFailure]]] = set()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="rewardd-tokenize")
        self._closed = False

    async def encode(
        self,
        dialogues: Sequence[RewardInput],
        truncate: Truncation,
        cache_scope: bytes = b"",
        scorer: Scorer | None = None,
    ) -> list[Tokenised | ItemFailure]:
        """Each dialogue as it was tokenised, or its failure, in order.

        Cancelling the call stops what no thread has begun.

        Args:
            dialogues: to be tokenised.
            truncate: what to do with a text that is too long.
            cache_scope: of the texts, see `EncodedItem`.
            scorer: whose tokens they become; None: the pool's own.

        Raises:
            EngineClosed: the pool was closed before a thread had begun on it, or abandoned.
        """
        loop = asyncio.get_running_loop()
        calls = [
            loop.run_in_executor(
                self._pool,
                functools.partial(
                    self._encode,
                    dialogues[start : start + _DIALOGUES_PER_CALL],
                    truncate,
                    cache_scope,
                    self._scorer if scorer is None else scorer,
                ),
            )
            for start in range(0, len(dialogues), _DIALOGUES_PER_CALL)
        ]
        self._calls.update(calls)
        try:
            parts = await asyncio.gather(*calls)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._closed or (task is not None and task.cancelling()):
                raise
            # Closing cancelled the calls, not the caller: it must hear why.
            raise EngineClosed("the service is stopping") from None
        finally:
            self._calls.difference_update(calls)
        return [outcome for part in parts for outcome in part]

    def replace(self, scorer: Scorer) -> None:
        """Use another scorer for those who name none."""
        self._scorer = scorer

    def close(self) -> None:
        """Stop taking work; what runs ends by itself."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def abandon(self) -> None:
        """Take no more work, and wait for no thread: one of them may hang."""
        self.close()
        for call in self._calls:
            call.cancel()

    def _encode(
        self,
        dialogues: Sequence[RewardInput],
        truncate: Truncation,
        cache_scope: bytes,
        scorer: Scorer,
    ) -> list[Tokenised | ItemFailure]:
        with self._metrics.tokenize_seconds.time(), self._watch.tokenize(dialogues):
            return [self._encode_one(one, truncate, cache_scope, scorer) for one in dialogues]

    def _encode_one(
        self, dialogue: RewardInput, truncate: Truncation, cache_scope: bytes, scorer: Scorer
    ) -> Tokenised | ItemFailure:
        try:
            item = scorer.encode(dialogue, truncate=truncate)
            if cache_scope:
                item = replace(item, cache_scope=cache_scope)
            rewards = scorer.cached_rewards(item)
            if rewards is not None:
                return Tokenised(item, known=ScoredItem.of(item, rewards))
            return Tokenised(item, scorer.cached_tokens(item))
        except InputError as exc:
            reason = "too_long" if isinstance(exc, InputTooLong) else "tokenize"
            self._metrics.failures.labels(reason).inc()
            return ItemFailure(exc.code, detail_of(exc), exc.field or "", status_of(exc))
        except BaseException as exc:  # a tokenizer in Rust that panics raises no Exception
            # The message may quote the text: only the kind of error is logged.
            _log.error("tokenizing_failed", error=type(exc).__name__)
            self._metrics.failures.labels("tokenize").inc()
            return ItemFailure(
                "tokenizing_failed", "The tokenizer failed on this item; it is our bug.", "", 500
            )
