"""`rewardd demo`: the whole path on the bundled sample, from preferences to rewards over HTTP."""

import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from rewardd.demo.examples import UnexpectedReply, show_examples
from rewardd.demo.server_process import ServerFailed, ServerProcess
from rm_core.errors import RewardError

HOST = "127.0.0.1"
_INTERRUPTED = 130  # what a shell reports after Ctrl-C


def demo(
    directory: Annotated[
        Path, typer.Option(help="Where models, statistics and the server's log are kept.")
    ] = Path(".demo"),
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to serve on; 0 takes a free one.")
    ] = 8000,
    once: Annotated[
        bool, typer.Option("--once", help="End after the examples instead of serving on.")
    ] = False,
) -> None:
    """Train both reward models on the bundled sample, show scored examples, serve until Ctrl-C.

    What was trained before is used again; delete the directory to begin anew.
    """
    console = Console()
    with _failures_as_lines(console), _stop_on_signals():
        _require_free(port)
        started = time.monotonic()
        _train(directory / "models", console)
        show_figures(directory / "models", console)
        with ServerProcess(
            _server_flags(directory), port=port, log=directory / "server.log"
        ) as server:
            try:
                _serve(server, console, directory=directory, once=once, started=started)
            except KeyboardInterrupt:
                console.print("\nstopping the server")
    console.print("stopped; the models stand for the next time", highlight=False)


def show_figures(models: Path, console: Console) -> None:
    """Print the held-out accuracy of both models beside the baselines, from their manifests."""
    from rm_core.checkpoint.manifest import read_manifest
    from rm_core.types import ROLES

    table = Table(title="Held-out accuracy (95 % interval by prompts)", title_justify="left")
    for heading in ("", *(f"{role} RM" for role in ROLES)):
        table.add_column(heading)
    columns: list[dict[str, str]] = []
    for role in ROLES:
        manifest = read_manifest(models / role)
        if manifest is None:
            raise ServerFailed(f"{models / role} holds no reward model: this is a bug")
        metrics = manifest.metrics
        accuracies = {"reward model": metrics["accuracy"]}
        accuracies |= {name.replace("_", " "): its for name, its in metrics["baselines"].items()}
        cells = {name: _with_interval(accuracy) for name, accuracy in accuracies.items()}
        cells["prompts, pairs"] = f"{metrics['prompts']}, {metrics['accuracy']['pairs']}"
        cells["loss"] = f"{metrics['loss']:.3f} nats (coin: 0.693)"
        columns.append(cells)
    for name in columns[0]:
        table.add_row(name, *(cells.get(name, "") for cells in columns))
    console.print(table)


def _with_interval(accuracy: Mapping[str, Any]) -> str:
    # The model's interval is written by its field names, a baseline's as a pair.
    interval = accuracy["bootstrap"]
    low, high = interval.values() if isinstance(interval, Mapping) else interval
    return f"{accuracy['value']:.1%} ({low:.1%} – {high:.1%})"


def _train(models: Path, console: Console) -> None:
    from transformers.utils.logging import disable_progress_bar

    from rewardd.demo.models import train_sample_models
    from training.progress import ConsoleProgress

    disable_progress_bar()  # loading and writing these models takes no time; training has our bars
    train_sample_models(models, progress=ConsoleProgress(console))


def _server_flags(directory: Path) -> list[str]:
    models = directory / "models"
    return [
        *("--safety-model", str(models / "safety")),
        *("--helpfulness-model", str(models / "helpfulness")),
        *("--state-dir", str(directory / "state")),
        *("--host", HOST),
    ]


def _serve(
    server: ServerProcess, console: Console, *, directory: Path, once: bool, started: float
) -> None:
    console.print("starting the server")
    url = server.wait_until_ready()
    show_examples(url, console)
    console.rule(f"ready after {time.monotonic() - started:.0f} s", align="left")
    for what, where in (
        ("API with examples", f"{url}/docs"),
        ("metrics", f"{url}/metrics"),
        ("models and limits", f"{url}/v1/info"),
        ("server's log", str(directory / "server.log")),
        *(("training report", str(page)) for page in _reports(directory / "models")),
    ):
        console.print(f"{what:18} {where}", highlight=False, soft_wrap=True)
    if not once:
        console.print("Serving; Ctrl-C stops.")
        server.wait()


def _reports(models: Path) -> list[Path]:
    """The pages that the trainings have left; none of models that an older release trained."""
    from rm_core.types import ROLES
    from training.pipeline import run_directory
    from training.publishing.report.writer import PAGE_NAME, report_directory

    pages = [report_directory(run_directory(models / role)) / PAGE_NAME for role in ROLES]
    return [page for page in pages if page.is_file()]


def _require_free(port: int) -> None:
    """Find out before the training, not after it.

    Raises:
        ServerFailed: somebody listens there.
    """
    with socket.socket() as probe:
        # As the server does: a port whose last connections linger is free all the same.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ServerFailed(
                f"port {port} is taken or not allowed ({error.strerror}); choose another: "
                f"make demo PORT={port + 1}, or rewardd demo --port {port + 1}"
            ) from error


@contextmanager
def _stop_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGINT both interrupt, as Ctrl-C does, also in a background job."""
    previous = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _failures_as_lines(console: Console) -> Iterator[None]:
    """End with one line that says what to do, not with a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        console.print("\ninterrupted; run it again to go on with what stands")
        raise typer.Exit(_INTERRUPTED) from None
    except (RewardError, ServerFailed, UnexpectedReply) as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from error
