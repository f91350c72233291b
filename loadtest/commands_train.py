"""`train`: `rewardd train` beside TRL's `RewardTrainer`. What is heavy is imported on demand."""

from typing import Annotated

import typer

from loadtest.bench.training.settings import TrainingSettings
from loadtest.report import deliver, say, write_json
from loadtest.settings import JsonOut, MarkdownOut, with_flags


@with_flags(TrainingSettings)
def train(
    settings: TrainingSettings,
    only_prepare: Annotated[
        bool, typer.Option("--only-prepare", help="Make data and base, and train nothing.")
    ] = False,
    append: Annotated[
        bool, typer.Option("--append", help="Add to the runs that the JSON file holds already.")
    ] = False,
    json_out: JsonOut = None,
    markdown_out: MarkdownOut = None,
) -> None:
    """Train the same model on the same pairs and rankings by ours and by TRL's trainer."""
    from loadtest.bench.training.measure import measure_training
    from loadtest.bench.training.prepared import prepare
    from loadtest.bench.training.results import Comparison

    found = Comparison(settings.to_json(), settings.left_out())
    if append and json_out and json_out.exists():
        # Before anything runs: minutes later would be late to say that the file is none.
        found.go_on_from(json_out)
    if only_prepare:
        for name in settings.workload:
            typer.echo(f"{name}: {prepare(name, settings).facts()}")
        return

    def keep() -> None:
        if json_out is not None:
            write_json(json_out, found.to_json())

    measure_training(settings, found, say, keep)
    deliver(found.tables(), found.to_json(), json_out, markdown_out)
