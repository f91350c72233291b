"""How long a call may take before it counts as hung."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["load", "warm_up", "forward", "plan", "tokenize", "event_loop"]
"""What is watched: loading, a pack of a size that was not run yet (kernels are chosen and compiled
then), any other pack, planning one, tokenising, the event loop's turn."""

FLOOR_SECONDS = 30.0
"""The least that a pack may take, learned or not: a machine may hold its breath so long."""

COMPILED_FLOOR_SECONDS = 300.0
"""The same where layers are compiled, which a new shape may set off anew."""

TIMES_THE_SLOWEST = 10.0
EVENT_LOOP_SECONDS = 60.0
WARM_UP_SECONDS = 1800.0
LOAD_SECONDS = 3600.0
TOKENIZE_SECONDS = 60.0

_FORGETTING = 0.99
_CHARACTERS_A_LIMIT = 2**20


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """The watchdog's part of the settings, in seconds.

    Attributes:
        forward: of every pack; None: learned from those that were run.
        floor: the least that is learned.
        warm_up: the most for a pack of a size that was not run yet, where `forward` is learned.
        tokenize: of tokenising a few texts of a million characters together; more have more.
        load: of loading the models.
    """

    forward: float | None = None
    floor: float = FLOOR_SECONDS
    warm_up: float = WARM_UP_SECONDS
    tokenize: float = TOKENIZE_SECONDS
    load: float = LOAD_SECONDS

    def of_characters(self, count: int) -> float:
        """The limit of tokenising texts of so many characters in one thread."""
        return self.tokenize * (1.0 + count / _CHARACTERS_A_LIMIT)


class PackTimes:
    """How long packs took, by their size, and what that makes of the next one's limit.

    Sizes are told apart by powers of two of a pack's cost. The limit is the floor and ten times the
    slowest pack of its size or a smaller one. A size that was never run is reckoned from the next
    smaller one, four times as long for twice the cost (attention's share), but no longer than the
    limit of warming up.

    Args:
        limits: what is learned no further than.
    """

    def __init__(self, limits: WatchLimits) -> None:
        self._limits = limits
        self._slowest: dict[int, float] = {}

    def measured(self, cost: float, seconds: float) -> None:
        """A pack of this cost took so long; what was slower once is forgotten slowly."""
        size = _size(cost)
        self._slowest[size] = max(seconds, self._slowest.get(size, 0.0) * _FORGETTING)

    def limit(self, cost: float) -> tuple[Kind, float]:
        """As what a pack of this cost is watched, and the seconds that it may take."""
        if self._limits.forward is not None:
            return "forward", self._limits.forward
        size = _size(cost)
        smaller = [seen for seen in self._slowest if seen <= size]
        larger = [seen for seen in self._slowest if seen > size]
        if size in self._slowest or larger:
            known = smaller if size in self._slowest else [*smaller, min(larger)]
            return "forward", self._learned(max(self._slowest[seen] for seen in known))
        if not smaller:
            return "warm_up", self._limits.warm_up
        nearest = max(smaller)
        expected = self._slowest[nearest] * 4.0 ** (size - nearest)
        return "warm_up", min(self._limits.warm_up, self._learned(expected))

    def _learned(self, seconds: float) -> float:
        return self._limits.floor + TIMES_THE_SLOWEST * seconds


def _size(cost: float) -> int:
    return int(cost).bit_length()
