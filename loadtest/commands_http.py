"""`serve` and `compare`: measuring servers over HTTP. What is heavy is imported on demand."""

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from loadtest.commands_bench import DEFAULT_DIRECTORY, benchmark_models
from loadtest.compare import SHAPES, Plan
from loadtest.compare import compare as run_comparison
from loadtest.connections import Origin
from loadtest.errors import LoadTestError
from loadtest.generator import Endpoint, Generator, Target, wait_until_ready
from loadtest.oracle import Oracle, load_tokenizer
from loadtest.peers import PEERS, peer_named
from loadtest.report import (
    environment,
    plot_latencies,
    runs_table,
    write_json,
    write_text,
)
from loadtest.results import RunResult, check_run
from loadtest.scenarios import SCENARIOS, Options, Scenario, ScenarioBuilder, at_once
from loadtest.servers import Launch, parse_command
from loadtest.workloads import Workload

CACHE_NAME = "oracle.json"


def register(app: typer.Typer) -> None:
    """Mount the commands."""
    app.command("serve")(serve)
    app.command("compare")(compare)


def serve(  # noqa: PLR0913, PLR0917 - one parameter a flag is how typer reads a command
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
    rate: Annotated[float | None, typer.Option(help="Texts a second of the open loops.")] = None,
    share: Annotated[float, typer.Option(help="Or: share of the measured capacity.")] = 0.5,
    texts: Annotated[int, typer.Option(min=1, help="Texts of scenarios without groups.")] = 256,
    groups: Annotated[int, typer.Option(min=1, help="GRPO groups.")] = 16,
    responses: Annotated[int, typer.Option(min=1, help="Responses to each prompt.")] = 8,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens of GRPO prompts.")] = 384,
    longest: Annotated[int, typer.Option(min=16, help="Tokens of the long tail's texts.")] = 2048,
    burst_seconds: Annotated[float, typer.Option(min=0.0, help="A rollout ends within.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of texts and times.")] = 0,
    core: Annotated[int | None, typer.Option(help="The generator's processor core.")] = None,
    tolerance: Annotated[float, typer.Option(help="Of a reward, × (1 + |reward|).")] = 1e-4,
    api_key: Annotated[str | None, typer.Option(help="Sent as Authorization: Bearer.")] = None,
    model_name: Annotated[str, typer.Option(help="Where the contract names a model.")] = "reward",
    directory: Annotated[Path, typer.Option(help="Of the oracle's cache.")] = DEFAULT_DIRECTORY,
    json_out: Annotated[Path | None, typer.Option("--json", help="JSON file.")] = None,
    markdown_out: Annotated[Path | None, typer.Option("--markdown", help="Markdown file.")] = None,
    plot_out: Annotated[Path | None, typer.Option("--plot", help="PNG or SVG file.")] = None,
) -> None:
    """Load a running server and check every reward; exits with 1 if a run is void or wrong."""
    models = _models(safety_model, helpfulness_model)
    target = _target(peer, urls, list(models), model_name, api_key)
    oracle = Oracle(models, directory / CACHE_NAME, tolerance)
    options = Options(
        texts=texts,
        groups=groups,
        responses=responses,
        prompt_tokens=prompt_tokens,
        longest=longest,
        burst_seconds=burst_seconds,
        rate=rate,
        share=share,
        seed=seed,
    )
    wait_until_ready(target, timeout_seconds=30.0)
    bench = ServerBench(target, oracle, core)
    tokenizer = load_tokenizer(next(iter(models.values())))
    builder = ScenarioBuilder(tokenizer, options, bench.capacity)
    results = []
    for name in scenario or list(SCENARIOS):
        results.append(bench.run(builder.build(name)))
        typer.echo(f"{name}: {results[-1].texts_per_second:.1f} texts/s", err=True)
    text = runs_table(results)
    typer.echo(text)
    if markdown_out is not None:
        write_text(markdown_out, text)
    if json_out is not None:
        found = [result.to_json() for result in results]
        write_json(json_out, {"environment": environment(), "seed": seed, "results": found})
    if plot_out is not None:
        plot_latencies(plot_out, results, title=f"{peer}, seed {seed}")
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
        self._generator = Generator(target, core=core)
        self._capacities: dict[Workload, float] = {}

    def run(self, scenario: Scenario) -> RunResult:
        """Learn the truth, send, score."""
        self._oracle.learn(scenario.workload.texts)
        exchanges = self._generator.run(scenario.workload, scenario.schedule)
        return check_run(
            scenario.name,
            scenario.workload,
            exchanges,
            self._target,
            self._oracle,
            group_sizes=scenario.group_sizes,
        )

    def capacity(self, workload: Workload) -> float:
        """Texts a second when the workload arrives at once: the median of three.

        Raises:
            LoadTestError: the server answers nothing right.
        """
        if workload not in self._capacities:
            runs = [self.run(at_once("capacity", workload)) for _ in range(3)]
            capacity = statistics.median(run.texts_per_second for run in runs)
            if capacity <= 0:
                raise LoadTestError(f"no capacity to take a share of: {runs[0].reasons}")
            self._capacities[workload] = capacity
        return self._capacities[workload]


def compare(  # noqa: PLR0913, PLR0917 - one parameter a flag is how typer reads a command
    peer: Annotated[
        list[str] | None, typer.Option(help="NAME or NAME=INTERPRETER; repeat for several.")
    ] = None,
    command: Annotated[
        list[str] | None,
        typer.Option(help="NAME=COMMAND with {model} {port} {threads} {python}."),
    ] = None,
    model: Annotated[str, typer.Option(help="Size of the random models.")] = "tiny",
    safety_model: Annotated[Path | None, typer.Option(help="Checkpoint instead.")] = None,
    helpfulness_model: Annotated[Path | None, typer.Option(help="Checkpoint instead.")] = None,
    own_trunks: Annotated[bool, typer.Option(help="Two models on two trunks.")] = False,
    shape: Annotated[
        list[str] | None, typer.Option(help=f"Any of {', '.join(SHAPES)}; all by default.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds.")] = 3,
    scale: Annotated[float, typer.Option(min=0.001, max=1.0, help="Of the shapes.")] = 1.0,
    threads: Annotated[int, typer.Option(min=1, help="Cores for the servers.")] = 2,
    core: Annotated[int | None, typer.Option(help="The generator's processor core.")] = None,
    tolerance: Annotated[float, typer.Option(help="Of a reward, × (1 + |reward|).")] = 1e-4,
    seed: Annotated[int, typer.Option(help="Of the first round.")] = 0,
    directory: Annotated[Path, typer.Option(help="Models and cache.")] = DEFAULT_DIRECTORY,
    json_out: Annotated[Path | None, typer.Option("--json", help="JSON file.")] = None,
    markdown_out: Annotated[Path | None, typer.Option("--markdown", help="Markdown file.")] = None,
) -> None:
    """Measure our server beside peers on this machine, one at a time, the same texts for each."""
    launches = tuple(_launches(peer or ["naive"], command or [], threads))
    models = _models(safety_model, helpfulness_model)
    if not models:
        built = benchmark_models(model, directory)
        second = built.other_trunk if own_trunks else built.helpfulness
        models = {"safety": built.safety, "helpfulness": second}
    plan = Plan(
        launches=launches,
        models=models,
        shapes=tuple(shape or SHAPES),
        rounds=rounds,
        scale=scale,
        seed=seed,
        core=core,
        tolerance=tolerance,
        cache=directory / CACHE_NAME,
    )
    tokenizer = load_tokenizer(next(iter(models.values())))
    comparison = run_comparison(plan, tokenizer, lambda line: typer.echo(line, err=True))
    text = comparison.table()
    typer.echo(text)
    if markdown_out is not None:
        write_text(markdown_out, text)
    if json_out is not None:
        write_json(json_out, {"environment": environment(), "seed": seed, **comparison.to_json()})
    if not comparison.is_clean:
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


def _launches(peers: Sequence[str], commands: Sequence[str], threads: int) -> list[Launch]:
    pythons = dict(_pair(text) for text in peers)
    lines = {name: parse_command(line) for name, line in map(_pair, commands)}
    names = list(dict.fromkeys(["rewardd", *pythons, *lines]))
    return [
        Launch(
            peer_named(name),
            python=pythons.get(name) or sys.executable,
            command=lines.get(name, ()),
            threads=threads,
        )
        for name in names
    ]


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value
