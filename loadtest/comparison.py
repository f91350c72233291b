"""What a comparison found: the runs of every server, ratios round by round, and its tables."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from loadtest.report import markdown_table
from loadtest.results import RunResult
from loadtest.shapes import SHAPES

OURS = "rewardd"


@dataclass(slots=True)
class Comparison:
    """What came of it.

    Attributes:
        runs: results by peer and shape, one a round.
        absent: peers that could not be run, and why.
        halved: peers of which one a model could not be run, and why: of the shapes with two models
            they have half the texts per second of one.
    """

    runs: dict[str, dict[str, list[RunResult]]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    halved: dict[str, str] = field(default_factory=dict)

    def take(self, peer: str, run: RunResult) -> None:
        """Keep a round's run."""
        self.runs.setdefault(peer, {}).setdefault(run.name, []).append(run)

    def ratios(self, peer: str, shape: str) -> list[float]:
        """Ours over the peer's texts per second, round by round."""
        ours = self.runs.get(OURS, {}).get(shape, [])
        theirs = self.runs.get(peer, {}).get(shape, [])
        pairs = zip(ours, theirs, strict=False)  # a peer may have failed in a later round
        return [a.texts_per_second / b.texts_per_second for a, b in pairs if b.texts_ok]

    def work_ratios(self, peer: str, shape: str) -> list[float]:
        """A shape's work over that of the shape beside it, round by round, where it is counted."""
        beside = SHAPES[shape].work_beside if shape in SHAPES else ""
        found = self.runs.get(peer, {})
        pairs = zip(found.get(shape, []), found.get(beside, []), strict=False)
        times = [run.work.times(other.work) for run, other in pairs]
        return [ratio for ratio in times if ratio is not None]

    @property
    def is_clean(self) -> bool:
        """Whether every run may be believed and nothing failed."""
        return not self.absent and all(run.is_clean for _, _, run in self._every_run())

    def _every_run(self) -> Iterator[tuple[str, str, RunResult]]:
        for peer, shapes in self.runs.items():
            for shape, runs in shapes.items():
                for run in runs:
                    yield peer, shape, run

    def to_json(self) -> dict[str, Any]:
        """As JSON values: every run, and the ratios."""
        return {
            "runs": {
                peer: {shape: [run.to_json() for run in runs] for shape, runs in shapes.items()}
                for peer, shapes in self.runs.items()
            },
            "ratios": {
                peer: {shape: self.ratios(peer, shape) for shape in shapes}
                for peer, shapes in self.runs.items()
                if peer != OURS
            },
            "work_ratios": {
                peer: {shape: self.work_ratios(peer, shape) for shape in shapes}
                for peer, shapes in self.runs.items()
            },
            "absent": self.absent,
            "halved": self.halved,
        }

    def table(self) -> str:
        """Texts per second and the work behind them, each a table; what is amiss below them."""
        shapes = list(dict.fromkeys(shape for found in self.runs.values() for shape in found))
        paced = [shape for shape in shapes if shape in SHAPES and SHAPES[shape].work_beside]
        timed = [shape for shape in shapes if shape not in paced]
        lines = [self._table("texts/s (ours ÷ theirs)", timed, self._cell)]
        cached = [shape for shape in timed if self._has_cached(shape)]
        if cached:
            lines.append(self._table("tokens not computed", cached, self._cached_cell))
        if paced:
            beside = ", ".join(f"{shape} ÷ {SHAPES[shape].work_beside}" for shape in paced)
            lines.append(self._table(f"work ({beside})", paced, self._work_cell))
        return "\n\n".join([*lines, *self._notes()])

    def _table(self, title: str, shapes: list[str], cell: Callable[[str, str], str]) -> str:
        rows = [[peer, *(cell(peer, shape) for shape in shapes)] for peer in self.runs]
        return markdown_table([title, *shapes], rows)

    def _notes(self) -> Iterator[str]:
        for peer, why in self.absent.items():
            yield f"**{peer}: left out: {_first_and_last(why)}**"
        for peer, why in self.halved.items():
            yield (
                f"**{peer}: its columns with two models are half of one's texts/s, since two did "
                f"not start: {_first_and_last(why)}**"
            )
        for peer, shape, run in self._every_run():
            if run.void:
                yield f"**{peer}, {shape}: VOID: {run.void}**"
            if run.remembered:
                yield f"**{peer}, {shape}: {run.remembered}**"
            if run.reasons:
                reasons = "; ".join(f"{count} × {why}" for why, count in run.reasons.items())
                yield f"**{peer}, {shape}: {reasons}**"

    def _cell(self, peer: str, shape: str) -> str:
        runs = self.runs[peer].get(shape, [])
        if not runs:
            return "–"
        text = f"{statistics.median(run.texts_per_second for run in runs):.1f}"
        ratios = self.ratios(peer, shape) if peer != OURS else []
        if ratios:
            text += f" ({_spread(ratios)})"
        return text + ("" if all(run.is_clean for run in runs) else " ✗")

    def _has_cached(self, shape: str) -> bool:
        return any(self._cached_shares(peer, shape) for peer in self.runs)

    def _cached_shares(self, peer: str, shape: str) -> list[float]:
        shares = [run.work.cached_share for run in self.runs[peer].get(shape, [])]
        return [share for share in shares if share is not None]

    def _cached_cell(self, peer: str, shape: str) -> str:
        shares = self._cached_shares(peer, shape)
        return f"{statistics.median(shares):.0%}" if shares else "–"

    def _work_cell(self, peer: str, shape: str) -> str:
        ratios = self.work_ratios(peer, shape)
        return _spread(ratios) if ratios else "–"


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f}×, {min(ratios):.2f}–{max(ratios):.2f}"


def _first_and_last(why: str) -> str:
    first, *rest = why.splitlines()
    return " ".join([first, *rest[-1:]])
