"""`rewardd score`, `compare` and `info`: whole files, by a server or in this process.

What a run needs is imported when it runs, so that `rewardd --help` stays quick and a plain install
can ask a server.
"""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

_DEFAULT_TIMEOUT_SECONDS = 300.0
_DEFAULT_PACK_TOKENS = 8192

_console = Console(stderr=True)  # standard output may be the results'

Input = Annotated[
    str,
    typer.Argument(
        help=".jsonl, .json, either with .gz, .parquet, the directory of a dataset "
        "(save_to_disk), or - for JSON Lines from standard input."
    ),
]
Output = Annotated[
    str,
    typer.Option("--output", "-o", help="JSON Lines: the input's columns and the results; or -."),
]
Url = Annotated[
    str | None, typer.Option(help="Address of a running server (http://localhost:8000).")
]
ApiKey = Annotated[
    str | None, typer.Option(help="If the server wants one; others here can see it in `ps`.")
]
ApiKeyFile = Annotated[Path | None, typer.Option(help="File that holds the key instead.")]
TimeoutSeconds = Annotated[
    float, typer.Option(min=1.0, help="For one request of up to 64 rows to a server.")
]
SafetyModel = Annotated[
    str | None, typer.Option(help="Judge in this process: directory or hub name.")
]
HelpfulnessModel = Annotated[str | None, typer.Option(help="Likewise, the helpfulness model.")]
Device = Annotated[str, typer.Option(help="In this process: auto, cpu, cuda or cuda:N.")]
DType = Annotated[
    str, typer.Option(help="In this process: auto, float32, bfloat16, float16 or int8.")
]
MaxPackTokens = Annotated[
    int, typer.Option(min=1, help="In this process: tokens of one forward pass.")
]
PromptColumn = Annotated[str, typer.Option(help="Column of the prompt: text or chat messages.")]
ResponsesColumn = Annotated[
    list[str] | None,
    typer.Option(
        help="Column of the responses to one prompt; may be given several times, one response a "
        r"column (chosen, rejected). \[default: responses]",
        show_default=False,
    ),
]
IsSafetyColumn = Annotated[
    str, typer.Option(help="Column that is true where the prompt is about safety.")
]
Prefix = Annotated[str, typer.Option(help="Name of the column that gets the results.")]
Split = Annotated[str | None, typer.Option(help="Which split of a dataset's directory.")]
Truncate = Annotated[
    Literal["error", "prompt"],
    typer.Option(help="Too long a text is an error, or its prompt's left is cut."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Begin anew instead of going on with what is there.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]


def register(app: typer.Typer) -> None:
    """Mount `score`, `compare` and `info` on the command line."""
    app.command("score")(score)
    app.command("compare")(compare)
    app.command("info")(info)


def score(  # noqa: PLR0913, PLR0917 (one parameter a flag is how typer reads a command)
    input: Input,  # noqa: A002 (the argument's name in the help)
    output: Output,
    url: Url = None,
    api_key: ApiKey = None,
    api_key_file: ApiKeyFile = None,
    timeout_seconds: TimeoutSeconds = _DEFAULT_TIMEOUT_SECONDS,
    safety_model: SafetyModel = None,
    helpfulness_model: HelpfulnessModel = None,
    device: Device = "auto",
    dtype: DType = "auto",
    max_pack_tokens: MaxPackTokens = _DEFAULT_PACK_TOKENS,
    prompt_column: PromptColumn = "prompt",
    response_column: Annotated[
        str | None,
        typer.Option(help=r"Column of the response. \[default: response]", show_default=False),
    ] = None,
    responses_column: ResponsesColumn = None,
    messages_column: Annotated[
        str | None,
        typer.Option(
            help=r"Column of a chat that ends with the response. \[default: messages]",
            show_default=False,
        ),
    ] = None,
    is_safety_column: IsSafetyColumn = "is_safety",
    prefix: Prefix = "rewardd",
    split: Split = None,
    truncate: Truncate = "error",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Score every row of a file; run it again after a break and it goes on where it stopped.

    A row has a prompt and a response, or responses (a group), or messages. A row that can't be
    scored gets an error in the place of its rewards.
    """
    from rewardd.files.columns import Columns
    from rewardd.files.session import RunOptions, ScorerOptions, failures_as_lines, run_file

    options = RunOptions(
        command="score",
        input=input,
        output=output,
        columns=Columns(
            prompt=prompt_column,
            response=response_column,
            responses=tuple(responses_column or ()),
            messages=messages_column,
            is_safety=is_safety_column,
        ),
        prefix=prefix,
        split=split,
        truncate=truncate,
        overwrite=overwrite,
        quiet=quiet,
    )
    scorer = ScorerOptions(
        url=url,
        api_key=api_key,
        api_key_file=api_key_file,
        timeout_seconds=timeout_seconds,
        safety_model=safety_model,
        helpfulness_model=helpfulness_model,
        device=device,
        dtype=dtype,
        max_pack_tokens=max_pack_tokens,
    )
    with failures_as_lines(_console):
        run_file(options, scorer, _console)


def compare(  # noqa: PLR0913, PLR0917 (one parameter a flag is how typer reads a command)
    input: Input,  # noqa: A002 (the argument's name in the help)
    output: Output,
    url: Url = None,
    api_key: ApiKey = None,
    api_key_file: ApiKeyFile = None,
    timeout_seconds: TimeoutSeconds = _DEFAULT_TIMEOUT_SECONDS,
    safety_model: SafetyModel = None,
    helpfulness_model: HelpfulnessModel = None,
    device: Device = "auto",
    dtype: DType = "auto",
    max_pack_tokens: MaxPackTokens = _DEFAULT_PACK_TOKENS,
    prompt_column: PromptColumn = "prompt",
    responses_column: ResponsesColumn = None,
    is_safety_column: IsSafetyColumn = "is_safety",
    prefix: Prefix = "rewardd",
    split: Split = None,
    truncate: Truncate = "error",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Rank the responses of every row: winner, ranking, chances to beat one another.

    Preference data is compared with --responses-column chosen --responses-column rejected.
    """
    from rewardd.files.columns import Columns
    from rewardd.files.session import RunOptions, ScorerOptions, failures_as_lines, run_file

    options = RunOptions(
        command="compare",
        input=input,
        output=output,
        columns=Columns(
            prompt=prompt_column,
            responses=tuple(responses_column or ()),
            is_safety=is_safety_column,
        ),
        prefix=prefix,
        split=split,
        truncate=truncate,
        overwrite=overwrite,
        quiet=quiet,
    )
    scorer = ScorerOptions(
        url=url,
        api_key=api_key,
        api_key_file=api_key_file,
        timeout_seconds=timeout_seconds,
        safety_model=safety_model,
        helpfulness_model=helpfulness_model,
        device=device,
        dtype=dtype,
        max_pack_tokens=max_pack_tokens,
    )
    with failures_as_lines(_console):
        run_file(options, scorer, _console)


def info(
    url: Url = None,
    api_key: ApiKey = None,
    api_key_file: ApiKeyFile = None,
    safety_model: SafetyModel = None,
    helpfulness_model: HelpfulnessModel = None,
    device: Device = "auto",
    dtype: DType = "auto",
) -> None:
    """Tell which models answer, how they read a text, and the limits, as JSON."""
    from rewardd.files.session import ScorerOptions, failures_as_lines

    options = ScorerOptions(
        url=url,
        api_key=api_key,
        api_key_file=api_key_file,
        timeout_seconds=_DEFAULT_TIMEOUT_SECONDS,
        safety_model=safety_model,
        helpfulness_model=helpfulness_model,
        device=device,
        dtype=dtype,
        max_pack_tokens=_DEFAULT_PACK_TOKENS,
    )
    with failures_as_lines(_console), options.open() as scorer:
        typer.echo(json.dumps(scorer.info(), indent=2, ensure_ascii=False))
