"""`serve` and `compare`: measuring servers over HTTP. What is heavy is imported on demand."""

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from loadtest.commands_bench import benchmark_models
from loadtest.compare import CompareSettings
from loadtest.compare import compare as run_comparison
from loadtest.comparison import OURS
from loadtest.connections import Origin
from loadtest.errors import LoadTestError
from loadtest.generator import Endpoint, Target, wait_until_ready
from loadtest.oracle import Oracle, load_tokenizer
from loadtest.peers import PEERS, peer_named
from loadtest.report import deliver, environment, facts_line, plot_latencies, runs_table, say
from loadtest.results import RunResult, run_scenario
from loadtest.scenarios import SCENARIOS, Scenario, ScenarioBuilder, at_once
from loadtest.servers import Launch, Remote, parse_command
from loadtest.settings import (
    CACHE_NAME,
    DEFAULT_DIRECTORY,
    Core,
    Directory,
    JsonOut,
    MarkdownOut,
    ModelSizeName,
    ScenarioSettings,
    ServerThreads,
    Tolerance,
    with_flags,
)
from loadtest.workloads import Workload


@with_flags(ScenarioSettings)
def serve(  # noqa: PLR0913, PLR0917 - one parameter a flag is how typer reads a command
    settings: ScenarioSettings,
    urls: Annotated[
        list[str],
        typer.Argument(help="The server; for a peer with two models, safety's then helpfulness's."),
    ],
    safety_model: Annotated[
        Path | None, typer.Option(help="Directory of the served safety model, for the oracle.")
    ] = None,
    helpfulness_model: Annotated[
        Path | None, typer.Option(help="Directory of the served helpfulness model.")
    ] = None,
    peer: Annotated[str, typer.Option(help=f"Contract: {', '.join(PEERS)}.")] = "rewardd",
    scenario: Annotated[
        list[str] | None, typer.Option(help=f"Any of {', '.join(SCENARIOS)}; all by default.")
    ] = None,
    core: Core = None,
    tolerance: Tolerance = 1e-4,
    api_key: Annotated[str | None, typer.Option(help="Sent as Authorization: Bearer.")] = None,
    model_name: Annotated[str, typer.Option(help="Where the contract names a model.")] = "reward",
    directory: Directory = DEFAULT_DIRECTORY,
    json_out: JsonOut = None,
    markdown_out: MarkdownOut = None,
    plot_out: Annotated[Path | None, typer.Option("--plot", help="PNG or SVG file.")] = None,
) -> None:
    """Load a running server and check every reward; exits with 1 if a run is void or wrong."""
    models = _models(safety_model, helpfulness_model)
    target = _target(peer, urls, list(models), model_name, api_key)
    oracle = Oracle(models, directory / CACHE_NAME, tolerance)
    wait_until_ready(target, timeout_seconds=30.0)
    bench = ServerBench(target, oracle, core)
    tokenizer = load_tokenizer(next(iter(models.values())))
    builder = ScenarioBuilder(tokenizer, settings, bench.capacity)
    results = []
    for name in scenario or list(SCENARIOS):
        results.append(bench.run(builder.build(name)))
        say(f"{name}: {results[-1].texts_per_second:.1f} texts/s")
    runs = [result.to_json() for result in results]
    told = {"environment": environment(), "seed": settings.seed, "results": runs}
    deliver(runs_table(results), told, json_out, markdown_out)
    if plot_out is not None:
        plot_latencies(plot_out, results, title=f"{peer}, seed {settings.seed}")
    if not all(result.is_clean for result in results):
        raise typer.Exit(1)


class ServerBench:
    """Runs scenarios against one target.

    Args:
        target: the server.
        oracle: of its models.
        core: the generator's processor core.
    """

    def __init__(self, target: Target, oracle: Oracle, core: int | None) -> None:
        self._target = target
        self._oracle = oracle
        self._core = core
        self._capacities: dict[tuple[int, ...], float] = {}  # by the texts' lengths

    def run(self, scenario: Scenario) -> RunResult:
        """Learn the truth, send, score."""
        return run_scenario(scenario, self._target, self._oracle, core=self._core)

    def capacity(self, workloads: Sequence[Workload]) -> float:
        """Texts a second when a workload arrives at once: the median of these.

        Raises:
            LoadTestError: the server answers nothing right.
        """
        kind = tuple(text.num_tokens for text in workloads[0].texts)
        if kind not in self._capacities:
            runs = [self.run(at_once("capacity", workload)) for workload in workloads]
            capacity = statistics.median(run.texts_per_second for run in runs)
            if capacity <= 0:
                raise LoadTestError(f"no capacity to take a share of: {runs[0].reasons}")
            self._capacities[kind] = capacity
        return self._capacities[kind]


@with_flags(CompareSettings)
def compare(  # noqa: PLR0913, PLR0917 - one parameter a flag is how typer reads a command
    settings: CompareSettings,
    peer: Annotated[
        list[str] | None,
        typer.Option(help="NAME, NAME=INTERPRETER or NAME=URL[,URL]; repeat for several."),
    ] = None,
    command: Annotated[
        list[str] | None,
        typer.Option(help="NAME=COMMAND with {model} {port} {threads} {python}."),
    ] = None,
    model: ModelSizeName = "tiny",
    safety_model: Annotated[Path | None, typer.Option(help="Checkpoint instead.")] = None,
    helpfulness_model: Annotated[Path | None, typer.Option(help="Checkpoint instead.")] = None,
    own_trunks: Annotated[bool, typer.Option(help="Two models on two trunks.")] = False,
    threads: ServerThreads = 2,
    json_out: JsonOut = None,
    markdown_out: MarkdownOut = None,
) -> None:
    """Measure our server beside peers on this machine, one at a time, the same texts for each."""
    launches = _launches(peer or ["naive"], command or [], threads)
    models = _models(safety_model, helpfulness_model)
    if not models:
        built = benchmark_models(model, settings.directory)
        second = built.other_trunk if own_trunks else built.helpfulness
        models = {"safety": built.safety, "helpfulness": second}
    tokenizer = load_tokenizer(next(iter(models.values())))
    found = run_comparison(settings, launches, models, tokenizer, say)
    if settings.prepare:
        return
    machine = environment()
    told = {"environment": machine, "seed": settings.seed, **found.to_json()}
    deliver(f"{found.table()}\n\n{facts_line(machine)}", told, json_out, markdown_out)
    if not found.is_clean:
        raise typer.Exit(1)


def _models(safety: Path | None, helpfulness: Path | None) -> dict[str, Path]:
    named = {"safety": safety, "helpfulness": helpfulness}
    return {role: path for role, path in named.items() if path is not None}


def _target(
    peer: str, urls: Sequence[str], roles: Sequence[str], model_name: str, api_key: str | None
) -> Target:
    if not roles:
        raise LoadTestError(
            "name the served checkpoint with --safety-model or --helpfulness-model: its tokenizer "
            "measures the texts, and transformers computes the rewards that the answers must equal"
        )
    adapter = peer_named(peer)
    if len(urls) != (1 if adapter.holds_both else len(roles)):
        raise LoadTestError(f"{peer} needs one URL for each server of its: {', '.join(roles)}")
    endpoints = tuple(
        Endpoint(Origin.of(url), model_name, role) for url, role in zip(urls, roles, strict=False)
    )
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    return Target(adapter, endpoints, headers)


def _launches(peers: Sequence[str], commands: Sequence[str], threads: int) -> list[Launch | Remote]:
    said = dict(_pair(text) for text in peers)
    lines = {name: parse_command(line) for name, line in map(_pair, commands)}
    return [
        _launch(name, said.get(name, ""), lines.get(name, ()), threads)
        for name in dict.fromkeys([OURS, *said, *lines])
    ]


def _launch(name: str, where: str, command: tuple[str, ...], threads: int) -> Launch | Remote:
    """A peer of an interpreter's environment, or at URLs."""
    if where.startswith("http"):
        return Remote(peer_named(name), tuple(where.split(",")))
    return Launch(peer_named(name), where or sys.executable, command, threads)


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value
