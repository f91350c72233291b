"""The engine's calls under the watchdog, each with the limit that suits it."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from rm_core.types import Dialogue, RenderedText, RewardInput
from service.watchdog.limits import EVENT_LOOP_SECONDS, PackTimes, WatchLimits
from service.watchdog.watchdog import Watchdog


class EngineWatch:
    """Watches one engine's calls.

    Args:
        watchdog: that is told of them; by default one that guards no process.
        limits: what they may take.
    """

    def __init__(self, watchdog: Watchdog | None = None, limits: WatchLimits | None = None) -> None:
        self.watchdog = watchdog or Watchdog()
        self.limits = limits or WatchLimits()
        self.pack_times = PackTimes(self.limits)

    def load(self) -> AbstractContextManager[None]:
        """The loading of models."""
        return self.watchdog.watch("load", self.limits.load)

    @contextmanager
    def forward(self, cost: float, *, learns: bool = True) -> Iterator[None]:
        """A pack of this cost; its limit is what was learned until now.

        Args:
            cost: of the pack.
            learns: whether its own time, if it ends well, says how long the next may take.
        """
        times = self.pack_times
        kind, seconds = times.limit(cost)
        began = self.watchdog.clock()
        with self.watchdog.watch(kind, seconds):
            yield
        if learns:
            times.measured(cost, self.watchdog.clock() - began)

    def forget(self) -> None:
        """Learn anew how long packs take: other models run them from now on."""
        self.pack_times = PackTimes(self.limits)

    def plan(self) -> AbstractContextManager[None]:
        """The planning of a pack, which takes a small part of what running it does."""
        forced = self.limits.forward
        return self.watchdog.watch("plan", self.limits.warm_up if forced is None else forced)

    def tokenize(self, texts: Sequence[RewardInput]) -> AbstractContextManager[None]:
        """The tokenising of texts by one thread."""
        characters = sum(num_characters(text) for text in texts)
        return self.watchdog.watch("tokenize", self.limits.of_characters(characters))

    def event_loop(self) -> AbstractContextManager[None]:
        """A short sleep of the event loop, which must not take long."""
        return self.watchdog.watch("event_loop", EVENT_LOOP_SECONDS)


def num_characters(text: RewardInput) -> int:
    """How long a text is, as far as that is known before it is rendered; an id counts as one."""
    if isinstance(text, Dialogue):
        turns = text.prompt if isinstance(text.prompt, tuple) else ()
        prompt = text.prompt if isinstance(text.prompt, str) else ""
        return (
            len(prompt)
            + sum(len(turn.content) + len(turn.fields) for turn in turns)
            + len(text.response)
            + len(text.response_fields)
        )
    return len(text.text) if isinstance(text, RenderedText) else len(text.ids)
