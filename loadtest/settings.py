"""What the commands can be told: each option is defined once, as a type or a settings' field."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

DEFAULT_DIRECTORY = Path(".loadtest")
CACHE_NAME = "oracle.json"

Core = Annotated[int | None, typer.Option(help="The generator's processor core.")]
Directory = Annotated[Path, typer.Option(help="Of what is built, and of the oracle's cache.")]
Groups = Annotated[int, typer.Option(min=1, help="GRPO groups.")]
JsonOut = Annotated[Path | None, typer.Option("--json", help="JSON file.")]
MarkdownOut = Annotated[Path | None, typer.Option("--markdown", help="Markdown file.")]
ModelSizeName = Annotated[str, typer.Option(help="Size of the random models.")]
PromptTokens = Annotated[int, typer.Option(min=1, help="Tokens of GRPO prompts.")]
Responses = Annotated[int, typer.Option(min=1, help="Responses to each prompt.")]
Rounds = Annotated[int, typer.Option(min=1, help="Interleaved rounds that count.")]
Seed = Annotated[int, typer.Option(help="Of texts and times, of the first round.")]
ServerThreads = Annotated[int, typer.Option(min=1, help="Cores for the servers.")]
Tolerance = Annotated[float, typer.Option(help="Of a reward, × (1 + |reward|).")]


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
        run.__doc__ = command.__doc__
        return run

    return mount


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if default is MISSING else default
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )
