"""Scoring without a service: packs within a token budget, in halves where they don't fit."""

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

from rm_core.engine.packing.cost import PlainCost, SharedPrefixCost, new_cost
from rm_core.engine.packing.distinct import reading_digest
from rm_core.engine.packing.policy import (
    Budget,
    QueuedSequence,
    TokenBudgetController,
    select_pack,
)
from rm_core.errors import EngineClosed, EngineError, OutOfMemory
from rm_core.types import EncodedItem, ItemRewards, Scorer

DEFAULT_PACK_ITEMS = 256
_PACKS_AHEAD = 4
"""How much waits at a time: enough to gather groups and to keep the device busy."""

Tag = TypeVar("Tag")
Part = TypeVar("Part")

OfflineOutcome = ItemRewards | EngineError
"""Rewards of one item, or why it has none."""


def halves(part: list[Part]) -> list[list[Part]]:
    """Of what failed together: for a stack, from which the first half is taken first."""
    middle = len(part) // 2
    return [part[middle:], part[:middle]]


class OfflineScorer(Generic[Tag]):
    """Scores items that are put in with a tag, pack by pack; equal items run once.

    Args:
        scorer: the loaded models.
        max_pack_tokens: deduplicated tokens of one forward pass.
        max_pack_items: sequences of one forward pass.
        remember: whether items equal to one that has run get its outcome, else they run again.
        device: runs the packs; None: the calling thread does.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        max_pack_tokens: int,
        max_pack_items: int = DEFAULT_PACK_ITEMS,
        remember: bool = False,
        device: Executor | None = None,
    ) -> None:
        self._scorer = scorer
        self._cap = TokenBudgetController(max_pack_tokens)
        self._max_items = max_pack_items
        self._remember = remember
        self._device = device
        self._queue: list[tuple[QueuedSequence[EncodedItem], bytes]] = []
        self._tokens = 0
        self._tags: dict[bytes, list[Tag]] = {}  # of what waits or runs, by what is read
        self._known: dict[bytes, OfflineOutcome] = {}
        self._settled: list[tuple[Tag, OfflineOutcome]] = []
        self._next_order = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for its outcome."""
        return not self._tags and not self._settled

    @property
    def has_room(self) -> bool:
        """Whether more may be put in: as much waits as some packs hold, and no more."""
        return (
            self._tokens < _PACKS_AHEAD * self._cap.configured
            and len(self._queue) + len(self._settled) < _PACKS_AHEAD * self._max_items
        )

    def put(self, tag: Tag, item: EncodedItem, group: Hashable) -> None:
        """Let an item wait for its pack.

        Args:
            tag: comes back with the outcome.
            item: what is scored.
            group: equal for items of one prompt, which are packed together where possible.
        """
        digest = reading_digest(item)
        known = self._known.get(digest) or self._scorer.cached_rewards(item)
        if known is not None:
            self._settled.append((tag, known))
            return
        tags = self._tags.setdefault(digest, [])
        tags.append(tag)
        if len(tags) == 1:
            self._queue.append((QueuedSequence(item, self._next_order, group), digest))
            self._tokens += item.num_tokens
            self._next_order += 1

    def run_next(
        self, meanwhile: Callable[[], None] = lambda: None
    ) -> list[tuple[Tag, OfflineOutcome]]:
        """Run the next pack, if anything waits.

        Args:
            meanwhile: puts more in; runs beside the pack where that has a device of its own.

        Returns:
            Tags with their outcomes: the pack's, and those that are known without running.

        Raises:
            EngineClosed: the engine was closed.
        """
        pack = self._take()
        items = [entry.item for entry, _ in pack]
        if self._device is None:
            outcomes = self._run(items)
            meanwhile()
        else:
            under_way = self._device.submit(self._run, items)
            meanwhile()
            outcomes = under_way.result()
        settled, self._settled = self._settled, []
        for (_, digest), outcome in zip(pack, outcomes, strict=True):
            settled += [(tag, outcome) for tag in self._tags.pop(digest)]
            if self._remember:
                self._known[digest] = outcome
        return settled

    def _new_cost(self) -> SharedPrefixCost | PlainCost:
        return new_cost(shares_prefixes=self._scorer.shares_prefixes)

    def _take(self) -> list[tuple[QueuedSequence[EncodedItem], bytes]]:
        chosen = select_pack(
            [entry for entry, _ in self._queue],
            Budget(self._cap.tokens, self._max_items),
            self._new_cost,
        )
        pack = [self._queue[index] for index in chosen]
        gone = set(chosen)
        self._queue = [one for index, one in enumerate(self._queue) if index not in gone]
        self._tokens -= sum(entry.item.num_tokens for entry, _ in pack)
        return pack

    def _run(self, items: list[EncodedItem]) -> list[OfflineOutcome]:
        """Outcomes of one pack, in halves where it fails as a whole."""
        outcomes: list[OfflineOutcome] = []
        parts = [items] if items else []
        while parts:
            part = parts.pop()
            tokens = self._new_cost().cost(part)
            found = None if self._cap.exceeded(tokens, len(part)) else self._forward(part, tokens)
            if found is None:
                parts += halves(part)
            else:
                outcomes += found
        return outcomes

    def _forward(self, part: list[EncodedItem], tokens: int) -> Sequence[OfflineOutcome] | None:
        """Outcomes of one forward pass; None if it failed and its halves are to be tried."""
        try:
            rewards = self._scorer.forward(part)
        except EngineClosed:
            raise
        except EngineError as error:
            if isinstance(error, OutOfMemory):
                self._cap.failed(tokens)
            return [error] if len(part) == 1 else None
        self._cap.succeeded(tokens)
        return rewards
