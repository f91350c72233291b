"""`rewardd serve`: settings, models, server.

Everything heavy is imported inside the command, so that `rewardd --help` is quick and works without
the serving extra.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rm_core.errors import ConfigurationError, RewardError

if TYPE_CHECKING:
    from service.settings import Settings

LOGGED = (
    "architecture",
    "dtype",
    "device",
    "path",
    "path_reason",
    "max_length",
    "max_length_reason",
    "precision_error",
)
"""What the log says of each model that was loaded."""


def register(app: typer.Typer) -> None:
    """Mount `serve` on the command line."""
    app.command("serve")(serve)


def serve(  # noqa: PLR0913, PLR0917 (one parameter a flag is how typer reads a command)
    config: Annotated[
        Path | None, typer.Option(help="TOML file of settings; REWARDD_CONFIG by default.")
    ] = None,
    safety_model: Annotated[
        str | None, typer.Option(help="Directory or hub name of the safety reward model.")
    ] = None,
    helpfulness_model: Annotated[
        str | None, typer.Option(help="Directory or hub name of the helpfulness reward model.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="auto, float32, bfloat16, float16 or int8.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    port_file: Annotated[Path | None, typer.Option(help="Where to write the bound port.")] = None,
    state_dir: Annotated[
        Path | None, typer.Option(help="Where the streams' statistics live.")
    ] = None,
    max_pack_tokens: Annotated[int | None, typer.Option(help="Tokens of one forward pass.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Serve rewards over HTTP; every setting also has its environment variable, REWARDD_NAME."""
    from service.observability.logs import configure_logging
    from service.settings import Settings

    try:
        settings = Settings.load(
            config,
            safety_model=safety_model,
            helpfulness_model=helpfulness_model,
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
        code = run(settings)
    except RewardError as exc:
        # What can go wrong here is told to a person at a terminal: no traceback.
        typer.echo(f"rewardd serve: {exc}", err=True)
        raise typer.Exit(2) from exc
    raise typer.Exit(code)


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
    # torch takes seconds to import; a wrong setting is told before.
    import structlog
    import torch

    from rm_core.engine import load_engine
    from service.server import serve as serve_scorer

    if settings.torch_threads is not None:
        torch.set_num_threads(settings.torch_threads)
    log = structlog.get_logger(__name__)
    models = {"safety": settings.safety_model, "helpfulness": settings.helpfulness_model}
    log.info("loading", **models)
    if not any(models.values()):
        raise ConfigurationError("no reward model given; name a safety or helpfulness model")
    # Each thread that ever ran an operation keeps OpenMP workers until it ends, and with more of
    # them than cores in the process they all sleep between operations: waking them costs a small
    # forward half its speed. So the models are loaded by a thread that ends, and only the device
    # thread has workers.
    with ThreadPoolExecutor(1) as loader:
        engine = loader.submit(
            load_engine,
            models,
            device=settings.device,
            dtype=settings.dtype,
            read=settings.read_position,
            deterministic=settings.deterministic,
            compile_layers=settings.compile_layers,
        ).result()
    for role, model in engine.describe().items():
        log.info("loaded", role=role, **{key: model[key] for key in LOGGED})
    try:
        return serve_scorer(settings, engine)
    finally:
        engine.close()
