"""Our server and its peers on one machine: one at a time, interleaved, each answer checked.

In every round each peer gets the same texts, which neither a round nor a shape before has shown, so
that no cache is warm but by what a shape itself sends again; before that it is warmed up by every
shape with texts of its own. Ratios are taken pair by pair within a round and then their median, so
that a machine that slows down over the hours favours nobody.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer

from loadtest.comparison import Comparison
from loadtest.errors import LoadTestError, PeerError
from loadtest.generator import Generator, Target
from loadtest.oracle import Oracle
from loadtest.results import run_scenario
from loadtest.scenarios import Scenario
from loadtest.servers import Kept, Launch, Remote
from loadtest.settings import (
    CACHE_NAME,
    DEFAULT_DIRECTORY,
    Core,
    Directory,
    Pace,
    Rounds,
    Seed,
    Tolerance,
)
from loadtest.shapes import SHAPES, Shape
from loadtest.workloads import Tokenizer

WARM_UP_SHARE = 0.25
"""Of a shape's size, that a server gets of it before it is measured."""
Say = Callable[[str], None]
AnyLaunch = Launch | Remote | Kept


@dataclass(frozen=True, slots=True)
class CompareSettings:
    """What a comparison runs on each peer."""

    shape: Annotated[list[str], typer.Option(help="Column; may be repeated.")] = field(
        default_factory=lambda: list(SHAPES)
    )
    rounds: Rounds = 3
    scale: Annotated[float, typer.Option(min=0.001, max=1.0, help="Of the shapes.")] = 1.0
    pace: Pace = 0.1
    core: Core = None
    tolerance: Tolerance = 1e-4
    seed: Seed = 0
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Only compute and keep the true rewards.")
    ] = False
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Start servers once; each stands still in others' turns."),
    ] = False
    directory: Directory = DEFAULT_DIRECTORY

    def shapes(self, available: int) -> list[Shape]:
        """The shapes, for so many models, and those that their work is compared with.

        Raises:
            LoadTestError: an unknown one, or a model is missing for it.
        """
        unknown = [name for name in self.shape if name not in SHAPES]
        if unknown:
            raise LoadTestError(f"no shape named {unknown[0]}; there are: {', '.join(SHAPES)}")
        beside = {SHAPES[name].work_beside for name in self.shape} - {"", *self.shape}
        found = [SHAPES[name] for name in (*sorted(beside), *self.shape)]
        if any(shape.num_models > available for shape in found):
            raise LoadTestError("the shapes two and grpo-two need a safety and a helpfulness model")
        return found


def compare(
    settings: CompareSettings,
    launches: Sequence[Launch | Remote],
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
    for num_models in sorted({shape.num_models for shape in shapes}):
        chosen = [shape for shape in shapes if shape.num_models == num_models]
        served = dict(list(models.items())[:num_models])
        with ExitStack() as stack:
            peers: Sequence[AnyLaunch] = launches
            if settings.keep:
                peers = [Kept(one, stack) for one in launches]
            for number in range(settings.rounds):
                say(f"round {number + 1}: true rewards of the texts, {num_models} model(s)")
                a_round = _Round(settings, number, chosen, served, tokenizer, comparison, say)
                at = number % max(1, len(peers))  # nobody is always first
                for peer in (*peers[at:], *peers[:at]) if not settings.prepare else ():
                    a_round.measure(peer)
    return comparison


class _Round:
    """One round's texts, and each peer with them."""

    def __init__(
        self,
        settings: CompareSettings,
        number: int,
        shapes: Sequence[Shape],
        served: Mapping[str, Path],
        tokenizer: Tokenizer,
        comparison: Comparison,
        say: Say,
    ) -> None:
        seed = settings.seed + number
        scale = settings.scale
        self._settings = settings
        self._served = served
        self._comparison = comparison
        self._say = say
        self._scenarios = [
            shape.scenario(tokenizer, scale, seed, pace=settings.pace) for shape in shapes
        ]
        # Nothing is measured while warming up: what comes in its own time comes at once.
        self._warm = [
            shape.scenario(tokenizer, scale * WARM_UP_SHARE, seed + settings.rounds, pace=0.0)
            for shape in shapes
        ]
        self._oracle = self._oracle_of(served)

    def _oracle_of(self, models: Mapping[str, Path]) -> Oracle:
        oracle = Oracle(models, self._settings.directory / CACHE_NAME, self._settings.tolerance)
        for scenario in self._scenarios:
            oracle.learn(scenario.workload.texts)
        return oracle

    def measure(self, launch: AnyLaunch) -> None:
        """Start a peer, warm it up and run every scenario, or note why not."""
        name = launch.peer.name
        if name in self._comparison.absent:
            return
        if name not in self._comparison.halved or len(self._served) == 1:
            try:
                self._run(launch, self._served, self._oracle)
            except PeerError as exc:
                if len(self._served) == 1:
                    self._comparison.absent[name] = str(exc)
                    self._say(f"{name}: left out: {exc}")
                    return
                self._comparison.halved[name] = str(exc)
                self._say(f"{name}: half of one's texts/s, as two did not start: {exc}")
            else:
                return
        self._run_halved(launch)

    def _run_halved(self, launch: AnyLaunch) -> None:
        """One model on all cores: two such servers, each on half of them, are half as fast."""
        first = dict(list(self._served.items())[:1])
        try:
            self._run(launch, first, self._oracle_of(first), slower=len(self._served))
        except PeerError as exc:
            self._comparison.absent[launch.peer.name] = str(exc)

    def _run(
        self,
        launch: AnyLaunch,
        models: Mapping[str, Path],
        oracle: Oracle,
        *,
        slower: int = 1,
    ) -> None:
        name = launch.peer.name
        with launch.running(models) as target:
            warm_up(target, self._warm)
            for scenario in self._scenarios:
                run = run_scenario(scenario, target, oracle, core=self._settings.core)
                run = replace(run, makespan_seconds=slower * run.makespan_seconds)
                self._comparison.take(name, run)
                self._say(f"{name:10} {run.name:10} {run.texts_per_second:8.1f} texts/s")


def warm_up(target: Target, scenarios: Sequence[Scenario]) -> None:
    """Kernels, allocators and thread pools, and what a peer compiles for shapes that it meets."""
    for scenario in scenarios:
        Generator(target).run(scenario.workload, scenario.schedule)
