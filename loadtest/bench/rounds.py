"""Interleaved rounds: every strategy once a round, so that ratios compare neighbours in time."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtest.bench.strategies import Rewards, Strategy
from loadtest.errors import LoadTestError
from loadtest.report import facts_line, markdown_table

Sync = Callable[[], None]
MakeRound = Callable[[int], tuple[Sequence[Strategy], Rewards]]


@dataclass(slots=True)
class Timing:
    """A strategy's times.

    Attributes:
        seconds: one a round.
        max_error: largest absolute error of any reward against that text alone; None for a limit.
    """

    seconds: list[float] = field(default_factory=list)
    max_error: float | None = None


@dataclass(frozen=True, slots=True)
class Rounds:
    """Times of several strategies to score one workload.

    Attributes:
        title: of the table.
        num_texts: of the workload.
        reference: the strategy that the ratios are about: ours.
        timings: by strategy.
        tolerance: largest error that is not a mistake.
        facts: what else the table's reader should know.
    """

    title: str
    num_texts: int
    reference: str
    timings: Mapping[str, Timing]
    tolerance: float
    facts: Mapping[str, Any] = field(default_factory=dict)

    def ratios(self, strategy: str) -> list[float]:
        """The strategy's seconds over the reference's, round by round: how much faster ours is."""
        pairs = zip(
            self.timings[strategy].seconds, self.timings[self.reference].seconds, strict=True
        )
        return [theirs / ours for theirs, ours in pairs]

    def wrong(self) -> list[str]:
        """Strategies with a reward that is off by more than the tolerance."""
        return [
            strategy
            for strategy, timing in self.timings.items()
            if timing.max_error is not None and not timing.max_error <= self.tolerance
        ]

    def table(self) -> str:
        """As Markdown."""
        rows = []
        for strategy, timing in self.timings.items():
            seconds = statistics.median(timing.seconds)
            ratios = self.ratios(strategy)
            spread = f"{statistics.median(ratios):.2f}× ({min(ratios):.2f}–{max(ratios):.2f})"
            rows.append(
                [
                    strategy,
                    f"{seconds:.3f}",
                    f"{self.num_texts / seconds:.1f}",
                    "1" if strategy == self.reference else spread,
                    "limit" if timing.max_error is None else f"{timing.max_error:.1e}",
                ]
            )
        header = ["strategy", "seconds", "texts/s", f"÷ {self.reference}", "max error"]
        lines = [f"## {self.title}", markdown_table(header, rows)]
        lines += [facts_line(self.facts)]
        lines += [
            f"**{strategy}: rewards differ from each text alone**" for strategy in self.wrong()
        ]
        return "\n\n".join(line for line in lines if line)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "title": self.title,
            "num_texts": self.num_texts,
            "reference": self.reference,
            "facts": dict(self.facts),
            "strategies": {
                strategy: {
                    "seconds": timing.seconds,
                    "median_seconds": statistics.median(timing.seconds),
                    "median_ratio": statistics.median(self.ratios(strategy)),
                    "ratios": self.ratios(strategy),
                    "max_error": timing.max_error,
                }
                for strategy, timing in self.timings.items()
            },
        }


def run_rounds(make: MakeRound, *, rounds: int, sync: Sync = lambda: None) -> dict[str, Timing]:
    """Time every strategy in every round; the starting strategy moves on by one each round.

    Args:
        make: the strategies of a round, by its number from 0, and the rewards of each text alone,
            which every strategy's are held against. An engine remembers texts: every round must
            bring others.
        rounds: at least 1, after one that is not counted.
        sync: waits for the device, so that a time is that of the work and not of its submission.
    """
    if rounds < 1:
        raise LoadTestError("at least one round is needed")
    timings: dict[str, Timing] = {}
    for number in range(rounds + 1):
        strategies, truth = make(number)
        for at in range(len(strategies)):
            strategy = strategies[(at + number) % len(strategies)]
            sync()
            began = time.perf_counter()
            rewards = strategy.run()
            sync()
            seconds = time.perf_counter() - began
            timing = timings.setdefault(strategy.name, Timing())
            if rewards:
                timing.max_error = max(timing.max_error or 0.0, largest_error(rewards, truth))
            if number > 0:  # the first warms allocators and thread pools up
                timing.seconds.append(seconds)
    return timings


def largest_error(found: Rewards, truth: Rewards) -> float:
    """Largest absolute difference of any reward; infinite where one is not a number."""
    largest = 0.0
    for role, values in found.items():
        for value, true in zip(values, truth[role], strict=True):
            error = abs(value - true)
            largest = max(largest, error if error == error else float("inf"))  # noqa: PLR0124 - NaN
    return largest
