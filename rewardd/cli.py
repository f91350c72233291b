"""The command line: mounts what the applications offer.

Their command modules import nothing heavy until a command runs, so that `rewardd --help` is quick
and works with the plain install; a command whose extra is missing says which one to install.
"""

import sys
from typing import Annotated

import typer

from rewardd.checkpoints.convert_cli import convert_checkpoint
from rewardd.checkpoints.inspect_cli import inspect
from rewardd.demo.cli import demo
from rewardd.demo.train_cli import train_sample
from rewardd.files.cli import register as register_batch
from rewardd.own_packages import OWN_PACKAGES
from rm_core import __version__
from service.cli import register as register_service
from training.cli.train import register as register_training

_EXTRA_BY_COMMAND = {"serve": "serve"}
_LARGEST_EXTRA = "train"

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its tracebacks show local variables: texts and keys
    help="Reward models for RLHF: train them, and serve their rewards to PPO and GRPO trainers.",
)
register_service(app)
register_training(app)
register_batch(app)
app.command("train-sample")(train_sample)
app.command("convert")(convert_checkpoint)
app.command("inspect")(inspect)
app.command("demo")(demo)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rewardd {__version__}")
        raise typer.Exit


@app.callback()
def rewardd(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the release and end.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Keep `rewardd` a group of commands, however many there are."""


def main() -> None:
    """Run the command line."""
    try:
        app(prog_name="rewardd")
    except ModuleNotFoundError as exc:
        missing = (exc.name or "").partition(".")[0]
        if missing in OWN_PACKAGES:
            raise
        command = sys.argv[1] if len(sys.argv) > 1 else ""
        extra = _EXTRA_BY_COMMAND.get(command, _LARGEST_EXTRA)
        typer.echo(
            f"rewardd {command} needs {missing}, which is not installed. "
            f"Install it with: pip install 'rewardd[{extra}]'",
            err=True,
        )
        sys.exit(1)
