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
from typing import Any

from loadtest import workloads
from loadtest.errors import LoadTestError, PeerError
from loadtest.generator import Generator, Target
from loadtest.oracle import Oracle
from loadtest.report import markdown_table
from loadtest.results import RunResult, check_run
from loadtest.scenarios import SINGLES_CLIENTS, Scenario, at_once
from loadtest.schedule import ClosedLoop
from loadtest.servers import Launch
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
        build: makes the scenario from a tokenizer, a scale in (0, 1] and a seed.
    """

    name: str
    num_models: int
    build: Callable[[Tokenizer, float, int], Scenario]


def _scaled(count: int, scale: float) -> int:
    return max(1, round(count * scale))


def _grpo(tokenizer: Tokenizer, scale: float, seed: int) -> Scenario:
    groups = _scaled(16, scale)
    return at_once("grpo", workloads.grpo(tokenizer, groups=groups, seed=seed))


def _mixed(tokenizer: Tokenizer, scale: float, seed: int) -> Scenario:
    return at_once("mixed", workloads.mixed(tokenizer, texts=_scaled(256, scale), seed=seed))


def _singles(tokenizer: Tokenizer, scale: float, seed: int) -> Scenario:
    texts = workloads.mixed(tokenizer, texts=_scaled(256, scale), per_request=1, seed=seed)
    return Scenario("singles", texts, ClosedLoop(SINGLES_CLIENTS))


def _one(tokenizer: Tokenizer, scale: float, seed: int) -> Scenario:
    texts = workloads.mixed(tokenizer, texts=_scaled(64, scale), per_request=1, seed=seed)
    return Scenario("one", texts, ClosedLoop(1))


def _two(tokenizer: Tokenizer, scale: float, seed: int) -> Scenario:
    return at_once("two", workloads.mixed(tokenizer, texts=_scaled(64, scale), seed=seed))


SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape("grpo", 1, _grpo),
        Shape("mixed", 1, _mixed),
        Shape("singles", 1, _singles),
        Shape("one", 1, _one),
        Shape("two", 2, _two),
        Shape("grpo-two", 2, _grpo),
    )
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a comparison runs.

    Attributes:
        launches: the peers, ours among them.
        models: checkpoints by role; the first alone serves the shapes with one model.
        shapes: names out of SHAPES.
        rounds: how often everything is run.
        scale: of the workloads' sizes.
        seed: of the first round; the next has the next.
        core: the generator's processor core.
        tolerance: of rewards.
        cache: the oracle's file.
    """

    launches: tuple[Launch, ...]
    models: Mapping[str, Path]
    shapes: tuple[str, ...]
    rounds: int = 3
    scale: float = 1.0
    seed: int = 0
    core: int | None = None
    tolerance: float = 1e-4
    cache: Path | None = None


@dataclass(slots=True)
class Comparison:
    """What came of it.

    Attributes:
        runs: results by peer and shape, one a round.
        absent: peers that could not be run, and why.
    """

    runs: dict[str, dict[str, list[RunResult]]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

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


def shape_seed(round_seed: int, name: str) -> int:
    """A seed that no other shape or round has: shapes with equal texts would warm prefix caches."""
    return round_seed * len(SHAPES) + list(SHAPES).index(name)


def compare(plan: Plan, tokenizer: Tokenizer, say: Say) -> Comparison:
    """Run everything; takes a while.

    Args:
        plan: what to run.
        tokenizer: of the models.
        say: told what is going on.

    Raises:
        LoadTestError: an unknown shape, or a model that is missing for one.
    """
    shapes = [_shape(name) for name in plan.shapes]
    if any(shape.num_models > len(plan.models) for shape in shapes):
        raise LoadTestError("the shapes two and grpo-two need a safety and a helpfulness model")
    comparison = Comparison()
    for number in range(plan.rounds):
        for num_models in sorted({shape.num_models for shape in shapes}):
            models = dict(list(plan.models.items())[:num_models])
            oracle = Oracle(models, plan.cache, plan.tolerance)
            chosen = [shape for shape in shapes if shape.num_models == num_models]
            scenarios = {
                shape.name: shape.build(
                    tokenizer, plan.scale, shape_seed(plan.seed + number, shape.name)
                )
                for shape in chosen
            }
            warm = [
                shape.build(
                    tokenizer,
                    plan.scale * WARM_UP_SHARE,
                    shape_seed(plan.seed + plan.rounds + number, shape.name),
                )
                for shape in chosen
            ]
            say(f"round {number + 1}: true rewards of the texts, {num_models} model(s)")
            for scenario in scenarios.values():
                oracle.learn(scenario.workload.texts)
            for launch in _rotated(plan.launches, number):
                if launch.peer.name not in comparison.absent:
                    turn = _Turn(launch, models, oracle, warm, scenarios, plan.core)
                    _run_peer(turn, comparison, say)
    return comparison


def _shape(name: str) -> Shape:
    if name not in SHAPES:
        raise LoadTestError(f"no shape named {name}; there are: {', '.join(SHAPES)}")
    return SHAPES[name]


def _rotated(launches: Sequence[Launch], by: int) -> list[Launch]:
    """Nobody is always first."""
    by %= len(launches)
    return [*launches[by:], *launches[:by]]


@dataclass(frozen=True, slots=True)
class _Turn:
    """One peer's turn in a round: what it is started with, warmed up by and measured on."""

    launch: Launch
    models: Mapping[str, Path]
    oracle: Oracle
    warm: Sequence[Scenario]
    scenarios: Mapping[str, Scenario]
    core: int | None


def _run_peer(turn: _Turn, comparison: Comparison, say: Say) -> None:
    name = turn.launch.peer.name
    try:
        with turn.launch.running(turn.models) as target:
            _warm_up(target, turn.warm)
            for shape, scenario in turn.scenarios.items():
                exchanges = Generator(target, core=turn.core).run(
                    scenario.workload, scenario.schedule
                )
                result = check_run(shape, scenario.workload, exchanges, target, turn.oracle)
                comparison.runs.setdefault(name, {}).setdefault(shape, []).append(result)
                say(f"{name:10} {shape:10} {result.texts_per_second:8.1f} texts/s")
    except PeerError as exc:
        comparison.absent[name] = str(exc)
        say(f"{name}: left out: {exc}")


def _warm_up(target: Target, scenarios: Sequence[Scenario]) -> None:
    """Kernels, allocators and thread pools, and what a peer compiles for shapes that it meets."""
    for scenario in scenarios:
        Generator(target).run(scenario.workload, scenario.schedule)
