"""The latest responses that callers sent and what they were given, while a swap asks for them.

Nothing is kept otherwise, and what is kept is in memory alone, bounded, until the swap is over.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from rm_core.rewards.rule import ScoredResponse
from rm_core.types import Dialogue, RewardInput, TokenIds, Truncation
from service.results import ItemResult
from service.watchdog.engine_watch import num_characters

MAX_CHARACTERS = 4 * 2**20
"""Of all kept texts together."""


@dataclass(frozen=True, slots=True)
class RecentItem:
    """A response that was scored.

    Attributes:
        text: as it was scored, at its end alone.
        truncate: what was to be done if it was too long.
        is_safety: the caller's tag of the prompt.
        scored: what the version that serves made of it.
    """

    text: RewardInput
    truncate: Truncation
    is_safety: bool
    scored: ScoredResponse


class RecentTraffic:
    """A ring of the latest responses; belongs to one event loop."""

    def __init__(self) -> None:
        self._items: deque[RecentItem] = deque()
        self._characters = 0
        self._wanted = 0
        self._full = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def items(self) -> Sequence[RecentItem]:
        """What is kept now, oldest first."""
        return tuple(self._items)

    async def filled(self, seconds: float) -> None:
        """Wait until there are as many as are wanted, but no longer than this."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._full.wait()

    @contextmanager
    def kept(self, count: int) -> Iterator[None]:
        """Keep the latest `count` while in the block; none after it."""
        self._wanted = count
        self._full.clear()
        try:
            yield
        finally:
            self._wanted = self._characters = 0
            self._items.clear()

    def offer(
        self,
        texts: Sequence[RewardInput],
        truncate: Truncation,
        is_safety: bool,
        results: Sequence[ItemResult],
    ) -> None:
        """One item's responses, just scored; costs nothing where nothing is kept."""
        if not self._wanted:
            return
        for text, scored in zip(texts, results, strict=True):
            # Ids mean other texts to another tokenizer, and failures have nothing to compare.
            if isinstance(scored, ScoredResponse) and not isinstance(text, TokenIds):
                whole = replace(text, read_at="end") if isinstance(text, Dialogue) else text
                self._keep(RecentItem(whole, truncate, is_safety, scored))

    def _keep(self, item: RecentItem) -> None:
        self._items.append(item)
        self._characters += num_characters(item.text)
        while len(self._items) > self._wanted or self._characters > MAX_CHARACTERS:
            self._characters -= num_characters(self._items.popleft().text)
            self._full.set()  # of texts so long there is no room for more
        if len(self._items) == self._wanted:
            self._full.set()
