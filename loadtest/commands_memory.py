"""`memory`: whether the engine's memory stays within its bounds. What is heavy comes on demand."""

import typer

from loadtest.commands_bench import benchmark_models
from loadtest.report import deliver, environment, facts_line
from loadtest.settings import (
    DEFAULT_DIRECTORY,
    Directory,
    JsonOut,
    MarkdownOut,
    MemorySettings,
    with_flags,
)


@with_flags(MemorySettings)
def memory(
    settings: MemorySettings,
    directory: Directory = DEFAULT_DIRECTORY,
    json_out: JsonOut = None,
    markdown_out: MarkdownOut = None,
) -> None:
    """Score random texts in-process, far more than the caches hold; exits with 1 if it grows."""
    from loadtest.bench.memory import MODEL, measure_memory

    found = measure_memory(benchmark_models(MODEL, directory).safety, settings)
    machine = environment()
    told = {"environment": machine, "seed": settings.seed, **found.to_json()}
    deliver(f"{found.table()}\n\n{facts_line(machine)}", told, json_out, markdown_out)
    if found.wrong():
        raise typer.Exit(1)
