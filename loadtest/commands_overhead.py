"""`overhead`: our server over HTTP beside the bare engine. What is heavy is imported on demand."""

from pathlib import Path
from typing import Annotated

import typer

from loadtest.commands_bench import DEFAULT_DIRECTORY, benchmark_models
from loadtest.oracle import load_tokenizer
from loadtest.peers import peer_named
from loadtest.report import environment, write_json, write_text
from loadtest.servers import Launch


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("overhead")(overhead)


def overhead(  # noqa: PLR0913, PLR0917 - one parameter a flag is how typer reads a command
    model: Annotated[str, typer.Option(help="Size of the random model.")] = "tiny",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds.")] = 5,
    groups: Annotated[int, typer.Option(min=1, help="GRPO groups.")] = 8,
    responses: Annotated[int, typer.Option(min=1, help="Responses to each prompt.")] = 8,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens of GRPO prompts.")] = 384,
    short_tokens: Annotated[int, typer.Option(min=4, help="Tokens of single texts.")] = 64,
    short_texts: Annotated[int, typer.Option(min=1, help="Single texts a round.")] = 100,
    loaded_texts: Annotated[int, typer.Option(min=1, help="Single texts at half load.")] = 1000,
    threads: Annotated[int, typer.Option(min=1, help="Cores for the server.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the first round.")] = 0,
    directory: Annotated[Path, typer.Option(help="Of the models.")] = DEFAULT_DIRECTORY,
    json_out: Annotated[Path | None, typer.Option("--json", help="JSON file.")] = None,
    markdown_out: Annotated[Path | None, typer.Option("--markdown", help="Markdown file.")] = None,
) -> None:
    """Measure what serving adds to the bare engine: at saturation, alone, and at half load."""
    from loadtest.bench.overhead import Options, measure_overhead

    checkpoint = benchmark_models(model, directory).safety
    options = Options(
        rounds=rounds,
        groups=groups,
        responses=responses,
        prompt_tokens=prompt_tokens,
        short_tokens=short_tokens,
        short_texts=short_texts,
        loaded_texts=loaded_texts,
        seed=seed,
    )
    found = measure_overhead(
        Launch(peer_named("rewardd"), threads=threads),
        checkpoint,
        load_tokenizer(checkpoint),
        options,
        lambda line: typer.echo(line, err=True),
    )
    text = found.table()
    typer.echo(text)
    if markdown_out is not None:
        write_text(markdown_out, text)
    if json_out is not None:
        write_json(
            json_out,
            {"environment": environment(), "model": model, "seed": seed, **found.to_json()},
        )
    if found.unclean:
        raise typer.Exit(1)
