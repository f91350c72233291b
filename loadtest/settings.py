"""What the commands can be told: each option is defined once, as a type or a settings' field."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from loadtest.models import SIZES

DEFAULT_DIRECTORY = Path(".loadtest")
CACHE_NAME = "oracle.json"

Core = Annotated[int | None, typer.Option(help="The generator's processor core.")]
Directory = Annotated[Path, typer.Option(help="Of models, data and cache.")]
Groups = Annotated[int, typer.Option(min=1, help="GRPO groups.")]
JsonOut = Annotated[Path | None, typer.Option("--json", help="JSON file.")]
MarkdownOut = Annotated[Path | None, typer.Option("--markdown", help="Markdown file.")]
ModelSizeName = Annotated[str, typer.Option(help="Size of the random models.")]
Pace = Annotated[float, typer.Option(min=0.0, help="Of staggered: times its 0.2 to 60 s.")]
PromptTokens = Annotated[int, typer.Option(min=1, help="Tokens of GRPO prompts.")]
Responses = Annotated[int, typer.Option(min=1, help="Responses to each prompt.")]
Rounds = Annotated[int, typer.Option(min=1, help="Interleaved rounds that count.")]
Seed = Annotated[int, typer.Option(help="Of texts and times, of the first round.")]
ServerThreads = Annotated[int, typer.Option(min=1, help="Cores for the servers.")]
Tolerance = Annotated[float, typer.Option(help="Of a reward, × (1 + |reward|).")]


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """What `bench` runs; the hidden ones are of CUDA alone, and smaller in tests."""

    model: Annotated[str, typer.Option(help=f"Size: {', '.join(SIZES)}; on CUDA: 8b, 0.5b.")] = (
        "small"
    )
    shape: Annotated[
        str,
        typer.Option(
            help="grpo, mixed, singles, one, turns, again, staggered, heads, or all of them."
        ),
    ] = "all"
    rounds: Rounds = 5
    groups: Annotated[int, typer.Option(min=0, help="GRPO groups; 0: 8, on CUDA 4.")] = 0
    responses: Annotated[
        int, typer.Option(min=0, help="Responses to each prompt; 0: 8, on CUDA 16.")
    ] = 0
    prompt_tokens: Annotated[
        int, typer.Option(min=0, help="Tokens of GRPO prompts; 0: 384, on CUDA 1024.")
    ] = 0
    texts: Annotated[int, typer.Option(min=1, help="Independent texts.")] = 64
    heads: Annotated[int, typer.Option(min=2, help="Of the shape heads.")] = 8
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Only compute and keep the true rewards.")
    ] = False
    threads: Annotated[int, typer.Option(min=0, help="torch's threads; 0: its choice.")] = 0
    dtype: Annotated[
        str, typer.Option(help="float32, bfloat16, float16 or int8; beside our own float32.")
    ] = "float32"
    deterministic: Annotated[bool, typer.Option(help="Also our deterministic mode.")] = False
    device: Annotated[str, typer.Option(help="cpu, or cuda for a model made there.")] = "cpu"
    pack_tokens: Annotated[
        int,
        typer.Option(min=0, help="Budget of a pack; 0: the service's 8192, on CUDA 16384."),
    ] = 0
    baselines: Annotated[
        bool, typer.Option(help="Also the padded ways and the bare products; not on CUDA.")
    ] = True
    compile_layers: Annotated[
        bool, typer.Option("--compile", help="On CUDA: let torch compile our layers.")
    ] = False
    two: Annotated[bool, typer.Option(help="Also two reward models.")] = True
    seed: Annotated[int, typer.Option(help="Of texts, their order and weights.")] = 0
    shortest: Annotated[int, typer.Option(hidden=True, help="Response in tokens.")] = 128
    longest: Annotated[int, typer.Option(hidden=True, help="Response in tokens.")] = 1024
    matmul_size: Annotated[int, typer.Option(hidden=True, help="Rows that give the rate.")] = 8192
    check_texts: Annotated[int, typer.Option(hidden=True, help="Also scored in float32.")] = 16

    @property
    def is_cuda(self) -> bool:
        """Whether it runs on a GPU."""
        return self.device.startswith("cuda")

    def sized(self) -> "BenchSettings":
        """The same with the device's sizes where none are said."""
        names = ("groups", "responses", "prompt_tokens", "pack_tokens")
        sizes = (4, 16, 1024, 16_384) if self.is_cuda else (8, 8, 384, 8192)
        usual = zip(names, sizes, strict=True)
        said: dict[str, Any] = {name: getattr(self, name) or size for name, size in usual}
        return replace(self, **said)


@dataclass(frozen=True, slots=True)
class ScenarioSettings:
    """Sizes and rates of the scenarios of `serve`."""

    rate: Annotated[float | None, typer.Option(help="Texts a second of the open loops.")] = None
    share: Annotated[float, typer.Option(help="Or: share of the measured capacity.")] = 0.5
    texts: Annotated[int, typer.Option(min=1, help="Texts of scenarios without groups.")] = 256
    groups: Groups = 16
    responses: Responses = 8
    prompt_tokens: PromptTokens = 384
    longest: Annotated[int, typer.Option(min=16, help="Tokens of the long tail's texts.")] = 2048
    burst_seconds: Annotated[float, typer.Option(min=0.0, help="A rollout ends within.")] = 1.0
    pace: Pace = 0.1
    seed: Seed = 0


@dataclass(frozen=True, slots=True)
class OverheadSettings:
    """Sizes of a run of `overhead`; a thousand texts at half load, for the p99."""

    rounds: Annotated[int, typer.Option(min=1, help="Rounds.")] = 5
    groups: Groups = 8
    responses: Responses = 8
    prompt_tokens: PromptTokens = 384
    short_tokens: Annotated[int, typer.Option(min=4, help="Tokens of single texts.")] = 64
    short_texts: Annotated[int, typer.Option(min=1, help="Single texts a round.")] = 100
    loaded_texts: Annotated[int, typer.Option(min=1, help="Single texts at half load.")] = 1000
    seed: Seed = 0


@dataclass(frozen=True, slots=True)
class MemorySettings:
    """Sizes of a run of `memory`: caches far smaller than what the texts would take."""

    prompts: Annotated[int, typer.Option(min=1, help="Random texts.")] = 100_000
    prefix_cache_bytes: Annotated[int, typer.Option(min=1, help="Bound on texts' beginnings.")] = (
        64 * 2**20
    )
    reward_cache_bytes: Annotated[int, typer.Option(min=1, help="Bound on rewards.")] = 8 * 2**20
    slack_mib: Annotated[
        int, typer.Option(min=0, help="Of resident memory, once the caches are full.")
    ] = 24
    seed: Seed = 0


def with_flags(settings: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for every field of a dataclass, which becomes its first argument."""
    hints = get_type_hints(settings, include_extras=True)
    flags = [
        _parameter(
            field.name,
            hints[field.name],
            field.default if field.default_factory is MISSING else field.default_factory(),
        )
        for field in fields(settings)
    ]

    def mount(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

        def run(**given: Any) -> None:
            told = settings(**{flag.name: given.pop(flag.name) for flag in flags})
            command(told, **given)

        every = [*(_parameter(one.name, one.annotation, one.default) for one in own), *flags]
        run.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in every}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return mount


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if default is MISSING else default
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )
