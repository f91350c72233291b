"""`rewardd score`, `compare` and `info`: whole files, by a server or in this process.

What a run needs is imported when it runs, so that `rewardd --help` stays quick and a plain install
can ask a server.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from rm_core.types import DType
from training.cli.options import DEVICES

_console = Console(stderr=True)  # standard output may be the results'

Flag = tuple[Any, Any]
Flags = Mapping[str, Flag]
"""Annotated types and defaults by name, in the order of the help."""


def _option(kind: Any, default: Any, text: str, *names: str, **options: Any) -> Flag:
    return Annotated[kind, typer.Option(*names, help=text, **options)], default


_FILES: Flags = {
    "input": (
        Annotated[
            str,
            typer.Argument(
                help=".jsonl, .json, .csv or .tsv, any of them with .gz, .xlsx, .parquet, the "
                "directory of a dataset (save_to_disk), or - for JSON Lines from standard input."
            ),
        ],
        ...,
    ),
    "output": _option(
        str, ..., "JSON Lines: the input's columns and the results; or -.", "--output", "-o"
    ),
}
_WHO: Flags = {
    "url": _option(
        str | None,
        None,
        "Address of a running server (http://localhost:8000).",
        show_default="none",
    ),
    "api_key": _option(
        str | None,
        None,
        "If the server wants one; others here can see it in `ps`.",
        show_default="none",
    ),
    "api_key_file": _option(
        Path | None, None, "File that holds the key instead.", show_default="none"
    ),
    "timeout_seconds": _option(
        float, 300.0, "For one request of up to 64 rows to a server.", min=1.0
    ),
    "wait": _option(
        bool,
        False,
        "Wait up to 15 minutes for a server that does not answer yet; without it, one that has "
        "answered once is waited for.",
        "--wait",
    ),
    "safety_model": _option(
        str | None, None, "Score in this process: directory or hub name.", show_default="none"
    ),
    "helpfulness_model": _option(
        str | None, None, "Likewise, the helpfulness model.", show_default="none"
    ),
    "model": _option(
        list[str] | None,
        None,
        "Likewise, a further model by a name of your own (NAME=DIRECTORY), or one label of a "
        "checkpoint with several (NAME=DIRECTORY#LABEL); may be given several times.",
        show_default="none",
    ),
    "device": _option(str, "auto", "In this process: where they run.", metavar=DEVICES),
    "dtype": _option(DType, "auto", "In this process: numbers of the forward pass."),
    "max_pack_tokens": _option(int, 8192, "In this process: tokens of one forward pass.", min=1),
}
_COLUMNS: Flags = {
    "prompt_column": _option(str, "prompt", "Column of the prompt: text or chat messages."),
    "response_column": _option(
        str | None, None, "Column of the response.", show_default="response"
    ),
    "responses_column": _option(
        list[str] | None,
        None,
        "Column of the responses to one prompt; may be given several times, one response a "
        "column (chosen, rejected).",
        show_default="responses",
    ),
    "messages_column": _option(
        str | None,
        None,
        "Column of a chat that ends with the response.",
        show_default="messages",
    ),
    "is_safety_column": _option(
        str, "is_safety", "Column that is true where the prompt is about safety."
    ),
    "rendered": _option(
        bool, False, "Text prompts have been through a chat template already.", "--rendered"
    ),
}
_HOW: Flags = {
    "prefix": _option(str, "rewardd", "Name of the column that gets the results."),
    "split": _option(
        str | None,
        None,
        "Which split of a dataset's directory, or sheet of a workbook.",
        show_default="its only one",
    ),
    "truncate": _option(
        Literal["error", "prompt", "left"],
        "error",
        "Too long a text is an error, or its prompt's left is cut, or its left wherever that is.",
    ),
    "stop": _option(
        list[str] | None,
        None,
        "The policy's own stop token, taken off the responses' ends; may be given several times.",
        show_default="none",
    ),
    "overwrite": _option(
        bool, False, "Begin anew instead of going on with what is there.", "--overwrite"
    ),
    "quiet": _option(bool, False, "No progress bar.", "--quiet", "-q"),
}
_FILE_COMMAND: Flags = {**_FILES, **_WHO, **_COLUMNS, **_HOW}


def register(app: typer.Typer) -> None:
    """Mount `score`, `compare` and `info` on the command line."""
    app.command("score")(_command(score, _FILE_COMMAND))
    app.command("compare")(
        _command(compare, _FILE_COMMAND, without=("response_column", "messages_column"))
    )
    app.command("info")(_command(info, _WHO, without=("timeout_seconds", "max_pack_tokens")))


def score(given: Mapping[str, Any]) -> None:
    """Score every row of a file; run it again after a break and it goes on where it stopped.

    A row has a prompt and a response, or responses (a group), or messages. A row that can't be
    scored gets an error in the place of its rewards.
    """
    _run_file("score", given)


def compare(given: Mapping[str, Any]) -> None:
    """Rank the responses of every row: winner, ranking, chances to beat one another.

    Preference data is compared with --responses-column chosen --responses-column rejected.
    """
    _run_file("compare", given)


def info(given: Mapping[str, Any]) -> None:
    """Tell which models answer, how they read a text, and the limits, as JSON."""
    from rewardd.files.session import ScorerOptions, failures_as_lines

    options = ScorerOptions(**{name: given[name] for name in _WHO})
    with failures_as_lines(_console), options.open() as scorer:
        typer.echo(json.dumps(scorer.info(), indent=2, ensure_ascii=False))


def _run_file(command: Literal["score", "compare"], given: Mapping[str, Any]) -> None:
    from rewardd.files.columns import Columns
    from rewardd.files.session import RunOptions, ScorerOptions, failures_as_lines, run_file

    columns = {name.removesuffix("_column"): given[name] for name in _COLUMNS}
    columns["responses"] = tuple(columns["responses"] or ())
    options = RunOptions(
        command=command,
        columns=Columns(**columns),
        **{name: given[name] for name in (*_FILES, *_HOW) if name != "stop"},
        stop=tuple(given["stop"] or ()),
    )
    with failures_as_lines(_console):
        run_file(options, ScorerOptions(**{name: given[name] for name in _WHO}), _console)


def _command(
    body: Callable[[Mapping[str, Any]], None], flags: Flags, *, without: tuple[str, ...] = ()
) -> Callable[..., None]:
    """A command of these flags; its body gets them by name, those left out as they are by default.

    Args:
        body: what runs; its docstring is the help.
        flags: of the command.
        without: those that it does not have.
    """
    left_out = {name: flags[name][1] for name in without}

    def run(**given: Any) -> None:
        body({**given, **left_out})

    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if default is ... else default,
            annotation=annotation,
        )
        for name, (annotation, default) in flags.items()
        if name not in without
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    run.__doc__ = body.__doc__
    return run
