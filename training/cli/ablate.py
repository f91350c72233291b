"""`rewardd ablate`: what margins, objectives and heads do on one's own data, in one table."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from training.cli.errors import exit_on_error

_console = Console(stderr=True)  # progress and errors
_results = Console()


def ablate(  # noqa: PLR0913, PLR0917 - one parameter a flag is how typer reads a command
    role: Annotated[str | None, typer.Option(help="safety or helpfulness.")] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="As in `train`; may be given several times.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="As in `train`.")] = None,
    output: Annotated[
        str | None, typer.Option(help="Directory for the table and for finished trainings.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with any of train's settings; flags win.")
    ] = None,
    margins: Annotated[
        list[str] | None,
        typer.Option(help="A row for none, small or large; may be given several times."),
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(help="A row for NAME, NAME=WEIGHT or several joined by +; repeatable."),
    ] = None,
    head: Annotated[
        list[str] | None,
        typer.Option(help="A row for last_token, mean or per_token; may be given several times."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each row.")] = 3,
    trainable: Annotated[
        str | None, typer.Option(help="As in `train`; head: the trunk runs once for all rows.")
    ] = None,
    heldout_fraction: Annotated[
        float | None, typer.Option(help="Share of prompts held out where rows name no split.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Most tokens of prompt and response together.")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Prompts in one forward pass.")] = None,
    gradient_accumulation: Annotated[
        int | None, typer.Option(help="Forward passes in one update.")
    ] = None,
) -> None:
    """Train every combination of margins, objectives and heads with several seeds; one table."""
    flags = dict(locals())
    path = flags.pop("config")
    rows = {name: flags.pop(name) or () for name in ("margins", "objective", "head")}
    flags.pop("seeds")
    with exit_on_error(_console):
        from training.ablation import (
            AblationTable,
            make_grid,
            rich_table,
            run_ablation,
            write_report,
        )
        from training.config import load_config
        from training.progress import ConsoleProgress

        settings = load_config(path, flags)
        grid = make_grid(
            settings, margins=rows["margins"], objectives=rows["objective"], heads=rows["head"]
        )
        for reason in grid.left_out:
            _console.print(f"left out: {reason}", highlight=False, markup=False)
        ablation = run_ablation(settings, grid, seeds=seeds, progress=ConsoleProgress(_console))
        table = AblationTable.of(ablation)
        place = write_report(table, settings, Path(settings.output))
        _results.print(rich_table(table))
        _results.print(
            f"{ablation.reused} of {len(grid.settings) * seeds} trainings were there already; "
            f"table, figures and picture in {place}",
            highlight=False,
        )
