"""How fast a run went: its updates' times, the tokens that were computed and saved, peak memory."""

import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

PACE_NAME = "pace.json"
"""Of the file in the run's directory."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Of one process, from the start or the resumption of its training loop to its end.

    Attributes:
        seconds: of the whole loop, with everything that happens in it.
        update_seconds: from the end of one update to the end of the next, loading its batches
            included; the first counts from the loop's start.
        sequence_tokens: of all responses with their prompts, before anything is shared.
        computed_tokens: that the trunk ran over: after sharing, or with padding; 0 where it did
            not run.
        peak_bytes: the most memory that the process has held until then; None where the system
            does not tell.
    """

    seconds: float
    update_seconds: tuple[float, ...]
    sequence_tokens: int
    computed_tokens: int
    peak_bytes: int | None

    def to_text(self) -> str:
        """One line for a person."""
        if not self.update_seconds:
            return f"trained for {self.seconds:.1f} s; no update was left to do"
        line = (
            f"trained for {self.seconds:.1f} s: {len(self.update_seconds)} updates, half of them "
            f"within {statistics.median(self.update_seconds):.3f} s"
        )
        if not self.computed_tokens:
            return line
        more = self.computed_tokens / self.sequence_tokens - 1
        return (
            f"{line}; {self.computed_tokens} tokens computed for {self.sequence_tokens} "
            f"({more:+.0%})"
        )

    def write(self, directory: Path) -> None:
        """Keep it as `pace.json` in a run's directory."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / PACE_NAME).write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")


class PaceClock(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Takes the time of the loop and of its updates, and counts the tokens that it is told of."""

    def __init__(self) -> None:
        self._began = self._ended = self._last = 0.0
        self._updates: list[float] = []
        self._sequence_tokens = 0
        self._computed_tokens = 0

    def count(self, sequence_tokens: int, computed_tokens: int) -> None:
        """Note a batch."""
        self._sequence_tokens += sequence_tokens
        self._computed_tokens += computed_tokens

    def pace(self) -> Pace:
        """What has been found; after the loop."""
        return Pace(
            self._ended - self._began,
            tuple(self._updates),
            self._sequence_tokens,
            self._computed_tokens,
            peak_bytes(),
        )

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The loop starts."""
        self._began = self._last = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """An update is done."""
        now = time.perf_counter()
        self._updates.append(now - self._last)
        self._last = now

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """The loop is over."""
        self._ended = time.perf_counter()


def peak_bytes() -> int | None:
    """The most memory that this process has held so far; None where the system does not tell."""
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # kilobytes everywhere else
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
