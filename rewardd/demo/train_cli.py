"""`rewardd train-sample`: both reward models from the bundled sample."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from training.cli.errors import exit_on_error
from training.cli.train import print_result

_console = Console(stderr=True)  # progress and errors


def train_sample(
    output: Annotated[
        Path, typer.Option(help="Gets the directories base, safety and helpfulness.")
    ] = Path("models"),
) -> None:
    """Train both reward models on the bundled sample, except those that already stand."""
    with exit_on_error(_console):
        from rewardd.demo.models import train_sample_models
        from training.progress import ConsoleProgress

        results = train_sample_models(output, progress=ConsoleProgress(_console))
        for role, result in results.items():
            if result is not None:
                print_result(role, result)
