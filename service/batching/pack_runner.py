"""Running one pack so that each of its entries gets its own outcome, whatever the others do."""

import asyncio
import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Literal

import structlog

from rm_core.engine.packing.cost import PackTokens, new_cost, saved_tokens
from rm_core.engine.packing.offline import halves
from rm_core.engine.packing.policy import TokenBudgetController
from rm_core.errors import EngineClosed, InvariantViolation, OutOfMemory
from rm_core.rewards.rule import ScoredItem
from rm_core.types import EncodedItem, ItemRewards, Scorer
from service.batching.admission import Admission
from service.batching.device_thread import DeviceThread
from service.batching.queue import Entry
from service.observability.metrics import Metrics
from service.problems import STATUS_BY_ERROR
from service.results import ItemFailure, ScoreOutcome
from service.watchdog.engine_watch import EngineWatch

_log = structlog.get_logger(__name__)

OUT_OF_MEMORY = ItemFailure(
    OutOfMemory.code,
    "This item does not fit the device even alone; shorten it.",
    status=STATUS_BY_ERROR[OutOfMemory],
)
ENGINE_FAILURE = ItemFailure(
    "engine_error", "The forward pass failed on this item; the log says more.", status=500
)
NONFINITE = ItemFailure(
    "nonfinite_reward",
    "The model gave no finite reward for this item; it enters no statistics. "
    "Try float32 if the models run in half precision.",
)


def outcome_of(item: EncodedItem, rewards: ItemRewards) -> ScoreOutcome:
    """What `Scorer.forward` means for one item: rewards, unless any is not finite."""
    if all(math.isfinite(reward) for own in rewards.values() for reward in own):
        return ScoredItem.of(item, rewards)
    return NONFINITE


class PackRunner:
    """Takes packs to the device, in halves where they fail as a whole.

    Args:
        scorer: of entries whose request names none.
        device: the thread that runs them.
        admission: gets the places of finished entries back, and the device's rate.
        cap: what is known of the device's memory.
        metrics: the app's instruments.
        clock: monotonic seconds.
        watch: of the forward passes.
    """

    def __init__(
        self,
        scorer: Scorer,
        device: DeviceThread,
        admission: Admission,
        cap: TokenBudgetController,
        metrics: Metrics,
        clock: Callable[[], float],
        watch: EngineWatch,
    ) -> None:
        self._scorer = scorer
        self._device = device
        self._admission = admission
        self._cap = cap
        self._metrics = metrics
        self._clock = clock
        self._watch = watch

    def _tokens(self, part: list[Entry]) -> PackTokens:
        """Tokens of a forward of these entries; what is cached is looked up anew."""
        scorer = self._scorer_of(part[0])
        cost = new_cost(shares_prefixes=scorer.shares_prefixes, cached_tokens=scorer.cached_tokens)
        return cost.tokens([entry.item for entry in part])

    def _scorer_of(self, entry: Entry) -> Scorer:
        """Whose rewards an entry waits for; all of a pack wait for the same one's."""
        return entry.request.submission.scorer or self._scorer

    async def run(self, pack: list[Entry]) -> None:
        """Give every entry of the pack its outcome; those nobody waits for are dropped.

        Raises:
            EngineClosed: the device is gone; the entries without outcome have only lost their
                places in the queue.
        """
        parts = [pack]
        try:
            while parts:
                part = self._unknown(self._still_wanted(parts.pop()))
                if not part:
                    continue
                tokens = self._tokens(part)
                too_large = self._cap.exceeded(tokens.cost, len(part))
                if too_large or not await self._forward(part, tokens):
                    parts += halves(part)
        finally:
            self.release(entry for part in parts for entry in part)

    def replace(self, scorer: Scorer) -> None:
        """Use another scorer for entries whose request names none."""
        self._scorer = scorer

    def release(self, entries: Iterable[Entry]) -> None:
        """Give back the entries' places in the queue."""
        for entry in entries:
            flow, waited = entry.request.flow, entry.request.submission.waits
            if entry.cached_tokens:
                self._admission.discount(-entry.cached_tokens, flow)
            self._admission.release_tokens(entry.num_tokens, flow, waited=waited)
            self._admission.release_items(1, flow, waited=waited)

    def _unknown(self, part: list[Entry]) -> list[Entry]:
        """The part without texts whose equals an earlier pack scored while they waited."""
        unknown = []
        for entry in part:
            rewards = self._scorer_of(entry).cached_rewards(entry.item)
            if rewards is None:
                unknown.append(entry)
            else:
                self._settle(entry, self._outcome(entry, rewards))
        return unknown

    def _still_wanted(self, part: list[Entry]) -> list[Entry]:
        now = self._clock()
        wanted = []
        for entry in part:
            deadline = entry.request.submission.deadline
            # The timer that expires a request may be late; the device must not start on it.
            if entry.request.is_over or (deadline is not None and now >= deadline):
                self.release([entry])
            else:
                wanted.append(entry)
        return wanted

    async def _forward(self, part: list[Entry], tokens: PackTokens) -> bool:
        """One forward pass; False if it failed and its halves are to be tried."""
        items, scorer = [entry.item for entry in part], self._scorer_of(part[0])
        began = self._clock()
        try:
            # What was replaced says nothing of how long its successor takes.
            watched = self._watch.forward(tokens.cost, learns=scorer is self._scorer)
            rewards = await self._device.run(lambda: _forward(scorer, items, watched))
            if len(rewards) != len(items):
                raise InvariantViolation("the scorer gave another number of rewards than items")
        except (EngineClosed, asyncio.CancelledError):
            self.release(part)
            raise
        except OutOfMemory:
            self._cap.failed(tokens.cost)
            _log.warning("out_of_memory", items=len(part), tokens=tokens.cost, cap=self._cap.tokens)
            return self._failed(part, "oom", OUT_OF_MEMORY)
        except Exception as exc:
            # The message may quote the text: only the kind of error is logged.
            _log.error(
                "forward_failed", error=type(exc).__name__, items=len(part), tokens=tokens.cost
            )
            return self._failed(part, "error", ENGINE_FAILURE)
        self._measured(part, tokens, self._clock() - began)
        for entry, reward in zip(part, rewards, strict=True):
            self._settle(entry, self._outcome(entry, reward))
        return True

    def _failed(
        self, part: list[Entry], reason: Literal["oom", "error"], failure: ItemFailure
    ) -> bool:
        if len(part) > 1:
            self._metrics.splits.labels(reason).inc()
            return False
        self._metrics.failures.labels("oom" if reason == "oom" else "internal").inc()
        self._settle(part[0], failure)
        return True

    def _measured(self, part: list[Entry], tokens: PackTokens, seconds: float) -> None:
        self._cap.succeeded(tokens.cost)
        sequence_tokens = sum(entry.num_tokens for entry in part)
        # The queue counts tokens before sharing, less what was cached when they came: so does what
        # is learned of a pack's time.
        cached = sum(entry.cached_tokens for entry in part)
        waited = sequence_tokens - saved_tokens(cached)
        self._admission.pack_rate.measured(waited, tokens.cost, seconds)
        self._metrics.pack_items.observe(len(part))
        self._metrics.pack_tokens.observe(tokens.computed)
        self._metrics.forward_seconds.observe(seconds)
        self._metrics.busy_seconds.inc(seconds)
        self._metrics.tokens.labels("real").inc(tokens.computed)
        self._metrics.tokens.labels("prefix_cached").inc(tokens.cached)
        shared = sequence_tokens - tokens.computed - tokens.cached
        self._metrics.tokens.labels("prefix_reused").inc(shared)

    def _outcome(self, entry: Entry, rewards: ItemRewards) -> ScoreOutcome:
        outcome = outcome_of(entry.item, rewards)
        if isinstance(outcome, ItemFailure):
            self._metrics.nonfinite.inc()
            self._metrics.failures.labels("nonfinite").inc()
            return outcome
        self._metrics.scored(entry.request.submission.route, outcome.rewards, entry.item.warnings)
        return outcome

    def _settle(self, entry: Entry, outcome: ScoreOutcome) -> None:
        self.release([entry])
        entry.settle(outcome)


def _forward(
    scorer: Scorer, items: list[EncodedItem], watched: AbstractContextManager[None]
) -> list[ItemRewards]:
    with watched:
        return scorer.forward(items)
