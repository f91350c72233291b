"""A batch command from its options to its exit code: opens, runs, shows progress, concludes."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from rewardd.files.columns import Columns
from rewardd.files.open import open_rows
from rewardd.files.remote import IMPATIENCE, PATIENCE, FileScorer, RemoteScorer
from rewardd.files.result_file import ResultFile, Sink, StdoutSink
from rewardd.files.rows import BatchFailed
from rewardd.files.run import Summary, run
from rm_client import ClientConfig, InvalidRequest, RewardClient
from rm_client.models import Truncation
from rm_core.errors import RewardError
from training.data.rows.row import Rows
from training.errors import DataError

STDOUT = "-"

_GO_ON = (
    "; what was scored so far stands, and the same command goes on from there once the input is "
    "whole"
)
_INTERRUPTED = 130  # what a shell reports after Ctrl-C


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerOptions:
    """Who scores: a server at `url`, or models in this process; the fields are the flags."""

    url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    api_key_file: Path | None = None
    timeout_seconds: float
    wait: bool = False
    safety_model: str | None = None
    helpfulness_model: str | None = None
    model: Sequence[str] | None = None
    device: str = "auto"
    dtype: str = "auto"
    max_pack_tokens: int

    @contextmanager
    def open(self) -> Iterator[FileScorer]:
        """The scorer, closed at the end.

        Raises:
            BatchFailed: neither or both ways are named, or the key can't be read.
            RewardError: a model can't be loaded.
        """
        with closing(self._open()) as scorer:
            yield scorer

    def _open(self) -> FileScorer:
        named = (self.safety_model, self.helpfulness_model, *(self.model or ()))
        is_local = any(one is not None for one in named)
        if is_local == (self.url is not None):
            raise BatchFailed(
                "name either a server (--url) or models for this process (--safety-model, "
                "--helpfulness-model, --model)"
            )
        if self.url is not None:
            try:
                patient = ClientConfig(
                    url=self.url,
                    api_key=self._key(),
                    timeout_seconds=self.timeout_seconds,
                    retry=PATIENCE,
                )
                impatient = replace(patient, retry=IMPATIENCE)
                return RemoteScorer(
                    RewardClient.from_config(patient),
                    first=None if self.wait else RewardClient.from_config(impatient),
                )
            except InvalidRequest as error:
                raise BatchFailed(str(error)) from error
        from rewardd.files.local import load

        return load(
            safety=self.safety_model,
            helpfulness=self.helpfulness_model,
            further=self.model or (),
            device=self.device,
            dtype=self.dtype,
            max_pack_tokens=self.max_pack_tokens,
        )

    def _key(self) -> str | None:
        if self.api_key_file is None:
            return self.api_key
        try:
            return self.api_key_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BatchFailed(f"the key's file can't be read: {type(error).__name__}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What is scored and where the results go; the fields are the flags."""

    command: Literal["score", "compare"]
    input: str
    output: str
    columns: Columns
    prefix: str = "rewardd"
    split: str | None = None
    truncate: Truncation = "error"
    stop: tuple[str, ...] = ()
    overwrite: bool = False
    quiet: bool = False

    def record(self, models: dict[str, Any]) -> dict[str, Any]:
        """What decides the output's lines, for the record beside them."""
        return {
            "command": self.command,
            "models": models,
            "columns": {
                name: value
                for name, value in asdict(self.columns).items()
                if name != "rendered" or value
            },
            "prefix": self.prefix,
            "truncate": self.truncate,
            **({"stop": list(self.stop)} if self.stop else {}),
        }


def run_file(options: RunOptions, scorer_options: ScorerOptions, console: Console) -> None:
    """Score a file.

    Raises:
        BatchFailed: the run can't go on.
        RewardError: a model can't be loaded.
        typer.Exit: nothing could be scored.
    """
    with closing(_rows(options)) as rows, scorer_options.open() as scorer:
        models = _models(scorer)
        began = time.monotonic()
        with (
            closing(_sink(options, models)) as sink,
            row_progress(console, rows, quiet=options.quiet) as on_row,
        ):
            summary = _run(options, rows, sink, scorer, on_row)
        if summary.written and _models(scorer) != models:
            raise BatchFailed(
                "the server changed its models during the run, so that the output mixes two; "
                "run it again with --overwrite"
            )
    console.print(
        conclusion(summary, time.monotonic() - began), highlight=False, markup=False, soft_wrap=True
    )
    if summary.written and summary.failed == summary.written:
        raise typer.Exit(1)


def conclusion(summary: Summary, seconds: float) -> str:
    """The last word of a run."""
    if not summary.written + summary.there:
        return "0 rows: the input holds none"
    text = f"{summary.written} rows in {seconds:.1f} s"
    if summary.there:
        text += f"; {summary.there} were there already"
    if summary.failed:
        text += f"; {summary.failed} have an error, the first {summary.first_failure}"
    return text


@contextmanager
def row_progress(
    console: Console, rows: Rows, *, quiet: bool
) -> Iterator[Callable[[Summary], None]]:
    """A progress bar where somebody looks; gives what is to be called after each row."""
    progress = Progress(
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]} rows"),
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
        transient=True,
    )
    with progress:
        task = progress.add_task("", total=rows.total, rows=0)

        def on_row(summary: Summary) -> None:
            progress.update(task, completed=rows.done, rows=summary.there + summary.written)

        yield on_row


@contextmanager
def failures_as_lines(console: Console) -> Iterator[None]:
    """End with one line that says what to do, not with a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on where it stopped")
        raise typer.Exit(_INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read our output has enough (head); the interpreter shall not flush into the void.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except (BatchFailed, RewardError, OSError) as error:
        advice = _GO_ON if isinstance(error, DataError) else ""
        console.print(
            f"error: {error}{advice}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        raise typer.Exit(1) from error


def _rows(options: RunOptions) -> Rows:
    output = Path(options.output)
    if options.output != STDOUT:
        if output.suffix.lower() in {".gz", ".parquet"}:
            raise BatchFailed(
                f"the output is JSON Lines, not {output.suffix}; for gzip: -o - | gzip > {output}"
            )
        source = Path(options.input)
        if output.exists() and source.exists() and output.samefile(source):
            raise BatchFailed("the output must be another file than the input")
    return open_rows(options.input, split=options.split)


def _sink(options: RunOptions, models: dict[str, Any]) -> Sink:
    if options.output == STDOUT:
        return StdoutSink()
    return ResultFile(Path(options.output), options.record(models), overwrite=options.overwrite)


def _run(
    options: RunOptions,
    rows: Rows,
    sink: Sink,
    scorer: FileScorer,
    on_row: Callable[[Summary], None],
) -> Summary:
    if options.command == "score":
        return run(
            rows,
            sink,
            item_of=options.columns.score_item,
            scorer=lambda items: scorer.score(items, options.truncate, options.stop),
            prefix=options.prefix,
            on_row=on_row,
        )
    return run(
        rows,
        sink,
        item_of=options.columns.compare_item,
        scorer=lambda items: scorer.compare(items, options.truncate, options.stop),
        prefix=options.prefix,
        on_row=on_row,
    )


def _models(scorer: FileScorer) -> dict[str, Any]:
    """What decides a reward: weights, template, calibration, numbers of the forward, τ."""
    info = scorer.info()
    engine = info.get("engine", {})
    return {
        "tau": info.get("selection", {}).get("tau"),
        **{
            role: {
                "digest": model.get("digest"),
                "template_hash": model.get("template_hash"),
                "temperature": model.get("temperature"),
                "bias": model.get("bias"),
                "dtype": (engine.get(role) or {}).get("dtype"),
            }
            for role, model in info["models"].items()
        },
    }
