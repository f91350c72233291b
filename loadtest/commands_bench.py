"""`bench` and `models`. What is heavy is imported when a command runs."""

from pathlib import Path
from typing import Annotated

import typer

from loadtest.errors import LoadTestError
from loadtest.models import SIZES, BenchmarkModels, build_models
from loadtest.report import deliver, environment, facts_line
from loadtest.settings import (
    DEFAULT_DIRECTORY,
    BenchSettings,
    Directory,
    JsonOut,
    MarkdownOut,
    with_flags,
)


def benchmark_models(name: str, directory: Path) -> BenchmarkModels:
    """The random models of a size's name, built where they are missing.

    Raises:
        LoadTestError: no such size.
    """
    if name not in SIZES:
        raise LoadTestError(f"no model size named {name}; there are: {', '.join(SIZES)}")
    return build_models(directory / "models" / name, SIZES[name])


def models(
    size: Annotated[str, typer.Argument(help=f"One of {', '.join(SIZES)}.")],
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Build random benchmark checkpoints: safety, helpfulness (same trunk), other-trunk."""
    built = benchmark_models(size, directory)
    for path in (built.safety, built.helpfulness, built.other_trunk):
        typer.echo(str(path))


@with_flags(BenchSettings)
def bench(
    settings: BenchSettings,
    directory: Directory = DEFAULT_DIRECTORY,
    json_out: JsonOut = None,
    markdown_out: MarkdownOut = None,
) -> None:
    """Time the engine in-process beside padded transformers and the bare GEMMs."""
    import torch

    if settings.threads:
        torch.set_num_threads(settings.threads)
    if settings.is_cuda:
        from loadtest.bench.device import bench_device

        if not torch.cuda.is_available():
            raise LoadTestError("there is no CUDA device here; use --device cpu")
        found = [bench_device(settings)]
    else:
        from loadtest.bench.cpu import bench_checkpoints

        if settings.compile_layers:
            raise LoadTestError("--compile is for --device cuda")
        built = benchmark_models(settings.model, directory)
        found = bench_checkpoints(built, settings, directory=directory)
        if settings.prepare:
            return
    threads = str(torch.get_num_threads())
    machine = {**environment(), "threads": threads, "model": settings.model}
    text = "\n\n".join([*(rounds.table() for rounds in found), facts_line(machine)])
    results = [rounds.to_json() for rounds in found]
    told = {"environment": machine, "dtype": settings.dtype, "results": results}
    deliver(text, told, json_out, markdown_out)
    if any(rounds.wrong() for rounds in found):
        raise typer.Exit(1)
