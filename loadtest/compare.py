"""Our server and its peers on one machine: one at a time, interleaved, each answer checked.

In every round each peer gets the same texts, which neither a round nor a shape before has shown, so
that no prefix cache is warm; before that it is warmed up by every shape with texts of its own.
Ratios are taken pair by pair within a round and then their median, so that a machine that slows
down over the hours favours nobody.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from loadtest import workloads
from loadtest.errors import LoadTestError, PeerError
from loadtest.generator import Generator, Target
from loadtest.oracle import Oracle
from loadtest.report import markdown_table
from loadtest.results import RunResult, run_scenario
from loadtest.scenarios import SINGLES_CLIENTS, Scenario, at_once
from loadtest.schedule import ClosedLoop
from loadtest.servers import Launch
from loadtest.settings import (
    CACHE_NAME,
    DEFAULT_DIRECTORY,
    Core,
    Directory,
    Rounds,
    Seed,
    Tolerance,
)
from loadtest.workloads import Tokenizer

OURS = "rewardd"
WARM_UP_SHARE = 0.25
"""Of a shape's size, that a server gets of it before it is measured."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Shape:
    """A column of the table.

    Attributes:
        name: of the column.
        num_models: 1, or 2 where each text is scored by both.
        groups: GRPO groups, all at once; 0: independent texts.
        texts: independent texts.
        clients: each sends one text a request; 0: 32 texts a request, all at once.
    """

    name: str
    num_models: int = 1
    groups: int = 0
    texts: int = 0
    clients: int = 0

    def scenario(self, tokenizer: Tokenizer, scale: float, seed: int) -> Scenario:
        """So much of it, with texts that no other shape or round has.

        Args:
            tokenizer: of the models.
            scale: of the size, in (0, 1].
            seed: of the round.
        """
        # Shapes with equal texts would warm prefix caches.
        seed = seed * len(SHAPES) + list(SHAPES).index(self.name)
        count = max(1, round((self.groups or self.texts) * scale))
        if self.groups:
            return at_once(self.name, workloads.grpo(tokenizer, groups=count, seed=seed))
        per_request = 1 if self.clients else 32
        texts = workloads.mixed(tokenizer, texts=count, per_request=per_request, seed=seed)
        if self.clients:
            return Scenario(self.name, texts, ClosedLoop(self.clients))
        return at_once(self.name, texts)


SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape("grpo", groups=16),
        Shape("mixed", texts=256),
        Shape("singles", texts=256, clients=SINGLES_CLIENTS),
        Shape("one", texts=64, clients=1),
        Shape("two", 2, texts=64),
        Shape("grpo-two", 2, groups=16),
    )
}


@dataclass(frozen=True, slots=True)
class CompareSettings:
    """What a comparison runs on each peer."""

    shape: Annotated[list[str], typer.Option(help="Column; may be repeated.")] = field(
        default_factory=lambda: list(SHAPES)
    )
    rounds: Rounds = 3
    scale: Annotated[float, typer.Option(min=0.001, max=1.0, help="Of the shapes.")] = 1.0
    core: Core = None
    tolerance: Tolerance = 1e-4
    seed: Seed = 0
    directory: Directory = DEFAULT_DIRECTORY

    def shapes(self, available: int) -> list[Shape]:
        """The shapes, for so many models.

        Raises:
            LoadTestError: an unknown one, or a model is missing for it.
        """
        unknown = [name for name in self.shape if name not in SHAPES]
        if unknown:
            raise LoadTestError(f"no shape named {unknown[0]}; there are: {', '.join(SHAPES)}")
        found = [SHAPES[name] for name in self.shape]
        if any(shape.num_models > available for shape in found):
            raise LoadTestError("the shapes two and grpo-two need a safety and a helpfulness model")
        return found


@dataclass(slots=True)
class Comparison:
    """What came of it.

    Attributes:
        runs: results by peer and shape, one a round.
        absent: peers that could not be run, and why.
    """

    runs: dict[str, dict[str, list[RunResult]]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def take(self, peer: str, run: RunResult) -> None:
        """Keep a round's run."""
        self.runs.setdefault(peer, {}).setdefault(run.name, []).append(run)

    def ratios(self, peer: str, shape: str) -> list[float]:
        """Ours over the peer's texts per second, round by round."""
        ours = self.runs.get(OURS, {}).get(shape, [])
        theirs = self.runs.get(peer, {}).get(shape, [])
        pairs = zip(ours, theirs, strict=False)  # a peer may have failed in a later round
        return [a.texts_per_second / b.texts_per_second for a, b in pairs if b.texts_ok]

    @property
    def is_clean(self) -> bool:
        """Whether every run may be believed and nothing failed."""
        return not self.absent and all(
            run.is_clean
            for shapes in self.runs.values()
            for runs in shapes.values()
            for run in runs
        )

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
            "absent": self.absent,
        }

    def table(self) -> str:
        """Texts per second, medians; in parentheses how many times ours does, and its spread."""
        shapes = list(dict.fromkeys(shape for found in self.runs.values() for shape in found))
        rows = [[peer, *(self._cell(peer, shape) for shape in shapes)] for peer in self.runs]
        lines = [markdown_table(["texts/s (ours ÷ theirs)", *shapes], rows)]
        for peer, why in self.absent.items():
            first, *rest = why.splitlines()
            lines.append(" ".join([f"**{peer}: left out: {first}", *rest[-1:]]) + "**")
        for peer, found in self.runs.items():
            for shape, runs in found.items():
                lines += [f"**{peer}, {shape}: VOID: {run.void}**" for run in runs if run.void]
                reasons = [f"{n} × {why}" for run in runs for why, n in run.reasons.items()]
                lines += [f"**{peer}, {shape}: {'; '.join(reasons)}**"] if reasons else []
        return "\n\n".join(lines)

    def _cell(self, peer: str, shape: str) -> str:
        runs = self.runs[peer].get(shape, [])
        if not runs:
            return "–"
        text = f"{statistics.median(run.texts_per_second for run in runs):.1f}"
        ratios = self.ratios(peer, shape) if peer != OURS else []
        if ratios:
            median = statistics.median(ratios)
            text += f" ({median:.2f}×, {min(ratios):.2f}–{max(ratios):.2f})"
        return text + ("" if all(run.is_clean for run in runs) else " ✗")


def compare(
    settings: CompareSettings,
    launches: Sequence[Launch],
    models: Mapping[str, Path],
    tokenizer: Tokenizer,
    say: Say,
) -> Comparison:
    """Run everything; takes a while.

    Args:
        settings: what to run.
        launches: the peers, ours among them.
        models: checkpoints by role; the first alone serves the shapes with one model.
        tokenizer: of the models.
        say: told what is going on.

    Raises:
        LoadTestError: an unknown shape, or a model that is missing for one.
    """
    shapes = settings.shapes(len(models))
    comparison = Comparison()
    for number in range(settings.rounds):
        for num_models in sorted({shape.num_models for shape in shapes}):
            served = dict(list(models.items())[:num_models])
            oracle = Oracle(served, settings.directory / CACHE_NAME, settings.tolerance)
            chosen = [shape for shape in shapes if shape.num_models == num_models]
            seed = settings.seed + number
            scenarios = [shape.scenario(tokenizer, settings.scale, seed) for shape in chosen]
            warm_scale, warm_seed = settings.scale * WARM_UP_SHARE, seed + settings.rounds
            warm = [shape.scenario(tokenizer, warm_scale, warm_seed) for shape in chosen]
            say(f"round {number + 1}: true rewards of the texts, {num_models} model(s)")
            for scenario in scenarios:
                oracle.learn(scenario.workload.texts)
            at = number % len(launches)  # nobody is always first
            for launch in (*launches[at:], *launches[:at]):
                name = launch.peer.name
                if name in comparison.absent:
                    continue
                try:
                    with launch.running(served) as target:
                        warm_up(target, warm)
                        for scenario in scenarios:
                            run = run_scenario(scenario, target, oracle, core=settings.core)
                            comparison.take(name, run)
                            say(f"{name:10} {run.name:10} {run.texts_per_second:8.1f} texts/s")
                except PeerError as exc:
                    comparison.absent[name] = str(exc)
                    say(f"{name}: left out: {exc}")
    return comparison


def warm_up(target: Target, scenarios: Sequence[Scenario]) -> None:
    """Kernels, allocators and thread pools, and what a peer compiles for shapes that it meets."""
    for scenario in scenarios:
        Generator(target).run(scenario.workload, scenario.schedule)
