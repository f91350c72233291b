"""`train`: `rewardd train` beside TRL's `RewardTrainer`. What is heavy is imported on demand."""

from pathlib import Path
from typing import Annotated

import typer

from loadtest.commands_bench import DEFAULT_DIRECTORY
from loadtest.report import write_json, write_text


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("train")(train)


def train(  # noqa: PLR0913, PLR0917 - one parameter a flag is how typer reads a command
    data: Annotated[Path, typer.Option(help="Directory of the collection of preference data.")],
    workload: Annotated[
        list[str] | None, typer.Option(help="pairs or kwise; may be repeated; both.")
    ] = None,
    trainer: Annotated[
        list[str] | None,
        typer.Option(help="ours, padded, trl or trl-grouped; may be repeated; all."),
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="May be repeated; 0, 1 and 2.")] = None,
    trl_python: Annotated[
        Path | None,
        typer.Option(help="Python of an environment that has TRL; else it is left out."),
    ] = None,
    records: Annotated[
        int, typer.Option(min=0, help="Most rankings of the train side; 0: all.")
    ] = 0,
    hidden: Annotated[int, typer.Option(min=8, help="Width of the base.")] = 256,
    layers: Annotated[int, typer.Option(min=1, help="Layers of the base.")] = 4,
    vocabulary: Annotated[int, typer.Option(min=300, help="Tokens of the base.")] = 8192,
    base_epochs: Annotated[
        float, typer.Option(help="Passes of language-modelling that the base has had.")
    ] = 0.3,
    threads: Annotated[int, typer.Option(min=1, help="Of every trainer.")] = 2,
    directory: Annotated[Path, typer.Option(help="Of what is built.")] = DEFAULT_DIRECTORY,
    only_prepare: Annotated[
        bool, typer.Option("--only-prepare", help="Make data and base, and train nothing.")
    ] = False,
    append: Annotated[
        bool, typer.Option("--append", help="Add to the runs that the JSON file holds already.")
    ] = False,
    json_out: Annotated[Path | None, typer.Option("--json", help="JSON file.")] = None,
    markdown_out: Annotated[Path | None, typer.Option("--markdown", help="Markdown file.")] = None,
) -> None:
    """Train the same model on the same pairs and rankings by ours and by TRL's trainer."""
    from loadtest.bench.training.measure import Plan, measure_training
    from loadtest.bench.training.results import Comparison
    from loadtest.bench.training.settings import TRAINERS, WORKLOADS, BaseSize, Settings

    plan = Plan(
        data=data,
        directory=directory / "training",
        workloads=workload or list(WORKLOADS),
        trainers=trainer or TRAINERS,
        seeds=seed or (0, 1, 2),
        trl_python=trl_python,
        settings=Settings(
            base=BaseSize(hidden, layers, vocabulary, base_epochs),
            threads=threads,
        ),
        records=records,
    )
    # Read before anything runs: minutes later would be late to say that the file is none.
    before = Comparison.read(json_out) if append and json_out and json_out.exists() else None
    if only_prepare:
        for name in plan.workloads:
            typer.echo(f"{name}: {plan.prepared(name).facts()}")
        return

    def keep(found: Comparison) -> None:
        if before is not None:
            before.merge(found)
            found = before
        if json_out is not None:
            write_json(json_out, found.to_json())

    found = measure_training(plan, lambda line: typer.echo(line, err=True), keep)
    keep(found)
    text = (before or found).tables()
    typer.echo(text)
    if markdown_out is not None:
        write_text(markdown_out, text)
