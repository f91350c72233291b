"""`python -m loadtest`: bench, serve, overhead, compare, memory, train, models."""

import signal
import sys

import typer

from loadtest.commands_bench import bench, models
from loadtest.commands_http import compare, serve
from loadtest.commands_memory import memory
from loadtest.commands_overhead import overhead
from loadtest.commands_train import train
from loadtest.errors import LoadTestError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Load tests: the engine in-process, a server over HTTP, ours beside others.",
)
for command in (bench, models, serve, compare, overhead, memory, train):
    app.command(command.__name__)(command)


def main() -> None:
    """Run the command line."""
    # Ended from outside (`timeout`, a closed terminal), the servers that it started end with it.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        app(prog_name="python -m loadtest")
    except LoadTestError as exc:
        typer.echo(f"loadtest: {exc}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
