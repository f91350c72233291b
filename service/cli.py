"""`rewardd serve`: settings, models, server.

Everything heavy is imported inside the command, so that `rewardd --help` is quick and works without
the serving extra.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rm_core.errors import RewardError
from rm_core.types import DType

if TYPE_CHECKING:
    import socket

    from rm_core.checkpoint.trial import Trial
    from rm_core.engine import Engine
    from service.settings import Settings
    from service.watchdog.engine_watch import EngineWatch

LOGGED = (
    "architecture",
    "dtype",
    "device",
    "path",
    "path_reason",
    "products",
    "attention",
    "max_length",
    "max_length_reason",
    "precision_error",
)
"""What the log says of each model that was loaded."""

LogLevel = Literal["debug", "info", "warning", "error"]

WRONG_SETTINGS = 2
_INTERRUPTED = 130  # what a shell reports after Ctrl-C


def register(app: typer.Typer) -> None:
    """Mount `serve` on the command line."""
    app.command("serve")(serve)


def serve(  # noqa: PLR0913, PLR0917 (one parameter a flag is how typer reads a command)
    config: Annotated[
        Path | None, typer.Option(help="TOML file of settings.", show_default="REWARDD_CONFIG")
    ] = None,
    safety_model: Annotated[
        str | None,
        typer.Option(help="Directory or hub name of the safety reward model.", show_default="none"),
    ] = None,
    helpfulness_model: Annotated[
        str | None,
        typer.Option(
            help="Directory or hub name of the helpfulness reward model.", show_default="none"
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A further reward model by a name of your own, or one label of a checkpoint with "
            "several; may be given several times.",
            metavar="NAME=DIRECTORY[#LABEL]",
            show_default="none",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="auto|cpu|cuda|cuda:N", help="Where they run.", show_default="auto"),
    ] = None,
    dtype: Annotated[
        DType | None, typer.Option(help="Numbers of the forward pass.", show_default="auto")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port to listen on; 0 takes a free one.", show_default="8000"),
    ] = None,
    port_file: Annotated[
        Path | None, typer.Option(help="Where to write the bound port.", show_default="none")
    ] = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where the streams' statistics live; git ignores it.",
            show_default="rewardd-state",
        ),
    ] = None,
    max_pack_tokens: Annotated[
        int | None, typer.Option(help="Tokens of one forward pass.", show_default="8192")
    ] = None,
    log_level: Annotated[
        LogLevel | None, typer.Option(help="Least grave event to log.", show_default="info")
    ] = None,
) -> None:
    """Serve rewards over HTTP; every setting also has its environment variable, REWARDD_NAME."""
    from service.observability.logs import configure_logging
    from service.observability.printed import prints_logged
    from service.settings import Settings

    try:
        settings = Settings.load(
            config,
            safety_model=safety_model,
            helpfulness_model=helpfulness_model,
            models=model,
            device=device,
            dtype=dtype,
            host=host,
            port=port,
            port_file=port_file,
            state_dir=state_dir,
            max_pack_tokens=max_pack_tokens,
            log_level=log_level,
        )
        configure_logging(settings.log_level)
        prints = prints_logged() if settings.log_prints else contextlib.nullcontext()
        with prints, ending_at_ctrl_c():
            code = run(settings)
    except RewardError as exc:
        configure_logging("error")  # wrong settings say nothing of a level
        tell_failure(str(exc))
        raise typer.Exit(WRONG_SETTINGS) from exc
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None
    raise typer.Exit(code)


@contextlib.contextmanager
def ending_at_ctrl_c() -> Iterator[None]:
    """Where nothing is served yet, or any more, the system itself ends the process at Ctrl-C.

    A thread that loads can't be interrupted, and an interpreter that ends would wait for it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def tell_failure(reason: str) -> None:
    """Say why the server did not start: one sentence to a person, one JSON object to a log."""
    import structlog

    if sys.stderr.isatty():
        typer.echo(f"rewardd serve: {reason}", err=True)
    else:
        structlog.get_logger(__name__).error("not_started", reason=reason)


def run(settings: "Settings") -> int:
    """Load the models and serve them.

    Args:
        settings: frozen settings.

    Returns:
        The process's exit code.

    Raises:
        CheckpointError: a model can't be loaded.
        ConfigurationError: the settings don't fit the machine.
    """
    import structlog

    # The child that tries checkpoints imports its libraries while this process imports its own.
    trial = settings.trial()
    try:
        engine, sockets, metrics_sockets, watch = _loaded(settings, trial)
    finally:
        if trial is not None:
            trial.close()

    from service.loader import ModelLoader
    from service.server import serve as serve_scorer

    log = structlog.get_logger(__name__)
    for role, model in engine.describe().items():
        log.info("loaded", role=role, **{key: model[key] for key in LOGGED})
        for note in model["notes"]:
            log.warning("checkpoint", role=role, note=note)
    try:
        return serve_scorer(
            settings,
            engine,
            sockets=sockets,
            metrics_sockets=metrics_sockets,
            watch=watch,
            loader=ModelLoader(settings),
        )
    finally:
        engine.close()


def _loaded(
    settings: "Settings", trial: "Trial | None"
) -> "tuple[Engine, list[socket.socket], list[socket.socket] | None, EngineWatch]":
    """The models, once everything that could keep the server from starting was looked at."""
    import structlog

    from service.preflight import bound_metrics_sockets, bound_sockets, check_settings

    # torch takes seconds to import and models minutes to load; what is wrong is told before.
    check_settings(settings)
    sockets = bound_sockets(settings.host, settings.port)
    metrics_sockets = bound_metrics_sockets(settings)

    import torch

    from rm_core.checkpoint.open_files import Caution
    from service.app import engine_watch
    from service.loader import ModelLoader
    from service.observability.logs import quiet_libraries
    from service.watchdog.warm_up import warm_up

    watch = engine_watch(settings)
    if settings.watchdog:
        watch.watchdog.start()
    quiet_libraries()
    if settings.torch_threads is not None:
        torch.set_num_threads(settings.torch_threads)
    log = structlog.get_logger(__name__)
    loader, models = ModelLoader(settings), settings.sources()
    log.info("loading", **{name: source.told for name, source in models.items()})
    # Each thread that ever ran an operation keeps OpenMP workers until it ends, and with more of
    # them than cores in the process they all sleep between operations: waking them costs a small
    # forward half its speed. So the models are loaded by a thread that ends, and only the device
    # thread has workers.
    with ThreadPoolExecutor(1, thread_name_prefix="rewardd-loading") as loading, watch.load():
        engine = loading.submit(loader.load_now, models, Caution(trial=trial)).result()
        loading.submit(warm_up, engine, watch).result()
    return engine, sockets, metrics_sockets, watch
