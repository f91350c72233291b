"""Options of `rewardd train`, one for every field of `TrainingConfig`, with its default shown."""

import inspect
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from rich.markup import escape

from training.config import TrainingConfig
from training.data.formats.registry import FORMATS

_FLAGS = {"objectives": "objective"}  # said once for each of them
_ON_ALONE = {"resume", "overwrite"}  # nothing to switch off
_MOST_IN_USAGE = 8  # words; more are listed by the help text


FORMAT_HELP = (
    "Read every file as this format instead of detecting it: "
    f"{', '.join(each.name for each in FORMATS)}."
)
DEVICES = "auto|cpu|cuda|cuda:N"
"""What `--device` takes, where a command shows it."""


def format_names() -> list[str]:
    """Every format's name, for completion."""
    return [each.name for each in FORMATS]


def with_training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a training, all of them None unless they are given.

    Args:
        command: takes `config`, a TOML file or None, and the options by name; and `context`, if
            it says so.
    """
    fields: dict[str, FieldInfo] = TrainingConfig.__pydantic_fields__  # type: ignore[attr-defined]
    config = typer.Option(
        help="TOML file with any of the settings; flags win over it.", show_default="none"
    )
    parameters = [_parameter(_FLAGS.get(name, name), field) for name, field in fields.items()]
    parameters.insert(4, _keyword("config", Path, config))
    if "context" in inspect.signature(command).parameters:
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter("context", keyword, annotation=typer.Context))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def command_with(context: typer.Context, settings: Mapping[str, Any]) -> str:
    """The command that is running, with other values for some of its settings, to be pasted.

    Args:
        context: of the command.
        settings: new values by name; True is a switch.
    """
    words = ["rewardd", context.info_name or ""]
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE" and name not in settings:
            words += _words(parameter, context.params[name])
    for name, value in settings.items():
        flag = f"--{name.replace('_', '-')}"
        words += [flag] if value is True else [flag, str(value)]
    return shlex.join(words)


def _words(parameter: Any, value: Any) -> list[str]:
    """An option as it was typed."""
    if isinstance(value, bool):
        return [parameter.opts[0] if value else parameter.secondary_opts[0]]
    values = value if isinstance(value, list | tuple) else [value]
    return [word for one in values for word in (parameter.opts[0], str(one))]


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    kind = _kind(field.annotation)
    flag = f"--{name.replace('_', '-')}"
    if kind is bool and name not in _ON_ALONE:
        flag = f"{flag}/--no-{flag[2:]}"
    described = field.description or ""
    several = "; may be given several times" if kind == list[str] else ""
    words = get_args(kind) if get_origin(kind) is Literal else ()
    text = escape(f"{described[:1].upper()}{described[1:].rstrip('.')}{several}.")
    if name == "format":
        text, words = FORMAT_HELP, tuple(format_names())
    option = typer.Option(
        flag,
        help=text,
        metavar="|".join(words) if 0 < len(words) <= _MOST_IN_USAGE else None,
        autocompletion=(lambda: list(words)) if words else None,
        show_default=_shown(field),
    )
    # A word that is none of them is refused with the other settings, file or flag, by its name.
    return _keyword(name, str if words else kind, option)


def _keyword(name: str, kind: Any, option: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, option],
    )


def _kind(annotation: Any) -> Any:
    """What a flag's value is: a number, a switch, one of several words, a text, or texts."""
    if get_origin(annotation) in (Union, UnionType):
        annotation, *others = (one for one in get_args(annotation) if one is not type(None))
        if others:  # a name, or a table that only a file can hold
            return annotation
    if annotation in (bool, int, float, str) or get_origin(annotation) is Literal:
        return annotation
    return list[str]


def _shown(field: FieldInfo) -> str:
    """A default as the help shows it."""
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, str | int | float):
        return str(default)
    return ", ".join(default or ()) or "none"
