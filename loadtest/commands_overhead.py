"""`overhead`: our server over HTTP beside the bare engine. What is heavy is imported on demand."""

import typer

from loadtest.commands_bench import benchmark_models
from loadtest.oracle import load_tokenizer
from loadtest.peers import peer_named
from loadtest.report import deliver, environment, say
from loadtest.servers import Launch
from loadtest.settings import (
    DEFAULT_DIRECTORY,
    Directory,
    JsonOut,
    MarkdownOut,
    ModelSizeName,
    OverheadSettings,
    ServerThreads,
    with_flags,
)


@with_flags(OverheadSettings)
def overhead(
    settings: OverheadSettings,
    model: ModelSizeName = "tiny",
    threads: ServerThreads = 2,
    directory: Directory = DEFAULT_DIRECTORY,
    json_out: JsonOut = None,
    markdown_out: MarkdownOut = None,
) -> None:
    """Measure what serving adds to the bare engine: at saturation, alone, and at half load."""
    from loadtest.bench.overhead import measure_overhead

    checkpoint = benchmark_models(model, directory).safety
    launch = Launch(peer_named("rewardd"), threads=threads)
    found = measure_overhead(launch, checkpoint, load_tokenizer(checkpoint), settings, say)
    told = {"environment": environment(), "model": model, "seed": settings.seed, **found.to_json()}
    deliver(found.table(), told, json_out, markdown_out)
    if found.unclean:
        raise typer.Exit(1)
