"""`bench` and `models`. What is heavy is imported when a command runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loadtest.errors import LoadTestError
from loadtest.models import SIZES, BenchmarkModels, build_models
from loadtest.report import deliver, environment, facts_line
from loadtest.settings import DEFAULT_DIRECTORY, Directory, JsonOut, MarkdownOut, Rounds

if TYPE_CHECKING:
    from loadtest.bench.rounds import Rounds as Measured


def register(app: typer.Typer) -> None:
    """Mount the commands."""
    app.command("bench")(bench)
    app.command("models")(models)


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


def bench(  # noqa: PLR0913, PLR0917 - one parameter a flag is how typer reads a command
    model: Annotated[
        str, typer.Option(help=f"Size: {', '.join(SIZES)}; on CUDA: 8b, 0.5b.")
    ] = "small",
    shape: Annotated[str, typer.Option(help="grpo, mixed or all.")] = "all",
    rounds: Rounds = 5,
    groups: Annotated[int | None, typer.Option(min=1, help="GRPO groups; 8, on CUDA 4.")] = None,
    responses: Annotated[
        int | None, typer.Option(min=1, help="Responses to each prompt; 8, on CUDA 16.")
    ] = None,
    prompt_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens of GRPO prompts; 384, on CUDA 1024.")
    ] = None,
    texts: Annotated[int | None, typer.Option(min=1, help="Independent texts; 64.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="torch's threads; 0: its choice.")] = 0,
    dtype: Annotated[
        str, typer.Option(help="float32, bfloat16, float16 or int8; beside our own float32.")
    ] = "float32",
    deterministic: Annotated[bool, typer.Option(help="Also our deterministic mode.")] = False,
    device: Annotated[str, typer.Option(help="cpu, or cuda for a model made there.")] = "cpu",
    pack_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Budget of a pack: the service's 8192, on CUDA 16384."),
    ] = None,
    baselines: Annotated[
        bool, typer.Option(help="Also the padded ways and the bare products; not on CUDA.")
    ] = True,
    compile_layers: Annotated[
        bool, typer.Option("--compile", help="On CUDA: let torch compile our layers.")
    ] = False,
    two: Annotated[bool, typer.Option(help="Also two reward models.")] = True,
    seed: Annotated[int, typer.Option(help="Of texts, their order and weights.")] = 0,
    directory: Directory = DEFAULT_DIRECTORY,
    json_out: JsonOut = None,
    markdown_out: MarkdownOut = None,
) -> None:
    """Time the engine in-process beside padded transformers and the bare GEMMs."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    given = {
        "groups": groups,
        "responses": responses,
        "prompt_tokens": prompt_tokens,
        "rounds": rounds,
        "max_pack_tokens": pack_tokens,
        "seed": seed,
    }
    sizes = {name: value for name, value in given.items() if value is not None}
    if device.startswith("cuda"):
        found = _on_device(model, device, sizes, compile_layers=compile_layers)
    else:
        if compile_layers:
            raise LoadTestError("--compile is for --device cuda")
        if texts is not None:
            sizes["texts"] = texts
        built = benchmark_models(model, directory)
        how = {
            "dtype": dtype,
            "deterministic": deterministic,
            "baselines": baselines,
            "two": two,
        }
        found = _on_cpu(built, shape, {**sizes, **how})
    machine = {**environment(), "threads": str(torch.get_num_threads()), "model": model}
    text = "\n\n".join([*(rounds.table() for rounds in found), facts_line(machine)])
    results = [rounds.to_json() for rounds in found]
    told = {"environment": machine, "dtype": dtype, "results": results}
    deliver(text, told, json_out, markdown_out)
    if any(rounds.wrong() for rounds in found):
        raise typer.Exit(1)


def _on_cpu(models: BenchmarkModels, shapes: str, options: dict[str, Any]) -> "list[Measured]":
    from loadtest.bench.cpu import CpuBenchSettings, bench_checkpoints

    chosen = {"all": ("grpo", "mixed")}.get(shapes, (shapes,))
    return bench_checkpoints(models, CpuBenchSettings(shapes=chosen, **options))


def _on_device(
    shape: str, device: str, sizes: dict[str, int], *, compile_layers: bool
) -> "list[Measured]":
    import torch

    from loadtest.bench.device import DeviceBenchSettings, bench_device

    if not torch.cuda.is_available():
        raise LoadTestError("there is no CUDA device here; use --device cpu")
    return [
        bench_device(
            DeviceBenchSettings(shape=shape, device=device, compile_layers=compile_layers, **sizes)
        )
    ]
