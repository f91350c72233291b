"""`rewardd eval`: reward models side by side on preference data, beside what they must beat."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rm_core.errors import ConfigurationError
from rm_core.types import DType
from training.cli.errors import exit_on_error
from training.cli.options import DEVICES, FORMAT_HELP, format_names

if TYPE_CHECKING:
    from training.data.examples import Example
    from training.data.formats.reading import ReadRecords
    from training.data.records import PreferenceRecord
    from training.evaluation.run import DataFacts
    from training.evaluation.scorer import Scorer, ScorerInfo

Split = Literal["all", "heldout", "train"]

_console = Console(stderr=True)  # progress and errors


def evaluate_checkpoints(  # noqa: PLR0913, PLR0917 - one parameter a flag is how typer reads a command
    checkpoints: Annotated[
        list[str],
        typer.Argument(help="Directories or hub names; several are put side by side."),
    ],
    data: Annotated[
        list[str],
        typer.Option(
            help=r"File, folder or hub name of preference data, PLACE\[@PART][,key=value…]; may be "
            "given several times."
        ),
    ],
    format: Annotated[  # noqa: A002 - the flag's name
        str | None,
        typer.Option(help=FORMAT_HELP, autocompletion=format_names, show_default="detected"),
    ] = None,
    split: Annotated[
        Split,
        typer.Option(help="all, or one side, by the records' own split or the prompts' hash."),
    ] = "all",
    heldout_fraction: Annotated[
        float, typer.Option(help="As in `train`, for records without a split of their own.")
    ] = 0.1,
    split_seed: Annotated[int, typer.Option(help="As in `train`.")] = 0,
    train_data: Annotated[
        list[str] | None,
        typer.Option(
            help="What the bag of words is fitted on.", show_default="the data's own train side"
        ),
    ] = None,
    group_by: Annotated[
        Literal["source", "tag"], typer.Option(help="What makes a subset.")
    ] = "source",
    sections: Annotated[
        Path | None,
        typer.Option(
            help="TOML or JSON: names of subsets by section, averaged as RewardBench.",
            show_default="none",
        ),
    ] = None,
    robustness_prompts: Annotated[
        int, typer.Option(min=0, help="Prompts whose responses are perturbed; 0: none.")
    ] = 200,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every figure here.", show_default="none")
    ] = None,
    markdown_file: Annotated[
        Path | None, typer.Option("--markdown", help="Write the tables here.", show_default="none")
    ] = None,
    device: Annotated[str, typer.Option(metavar=DEVICES, help="Where they run.")] = "auto",
    dtype: Annotated[DType, typer.Option(help="Numbers of the forward pass.")] = "auto",
    truncate: Annotated[
        Literal["error", "prompt"],
        typer.Option(help="Too long a text is left out, or its prompt's left is cut."),
    ] = "error",
    max_pack_tokens: Annotated[int, typer.Option(min=1, help="Tokens of one forward pass.")] = 8192,
    seed: Annotated[int, typer.Option(help="Of all resampling.")] = 0,
) -> None:
    """Measure reward models on preference data, side by side and beside what they must beat."""
    with exit_on_error(_console):
        from transformers.utils.logging import disable_progress_bar

        from training.data.filters import filtered_examples
        from training.data.formats import read_records
        from training.data.formats.options import FormatOptions
        from training.evaluation.baselines import baseline_scorers
        from training.evaluation.checkpoint_scorer import CheckpointScorer
        from training.evaluation.rendering import markdown, print_tables, results_console
        from training.evaluation.run import EvaluationOptions, evaluate_scorers
        from training.evaluation.tables.all_tables import report_tables
        from training.modeling.token_decoder import BaseDecoder

        disable_progress_bar()  # there is one for each scorer
        options = EvaluationOptions(group_by, _sections(sections), robustness_prompts, seed)
        models = [
            CheckpointScorer(
                name,
                label=label,
                device=device,
                dtype=dtype,
                truncate=truncate,
                max_pack_tokens=max_pack_tokens,
            )
            for name, label in zip(checkpoints, _labels(checkpoints), strict=True)
        ]
        for file in (json_file, markdown_file):
            _check_writable(file)
        roles = {model.info.role for model in models}
        asked = FormatOptions(
            role=roles.pop() if len(roles) == 1 else None, decode=BaseDecoder(checkpoints[0])
        )
        read = read_records(list(data), format_name=format, options=asked)
        records, rest = _side(read.records, split, heldout_fraction, split_seed)
        built = filtered_examples(records)
        if train_data:
            known = read_records(list(train_data), format_name=format, options=asked)
            rest = filtered_examples(known.records).examples
        seen = {example.prompt_key for example in built.examples}
        unseen = [example for example in rest if example.prompt_key not in seen]
        scorers: list[Scorer] = [*models, *baseline_scorers(unseen)]
        with _Bars(_console) as bars:
            run = evaluate_scorers(
                built,
                scorers,
                options,
                facts=_facts(read, split),
                on_progress=bars.update,
            )
        print_tables(report_tables(run.report), results_console())
        if json_file is not None:
            json_file.write_text(run.report.to_text(), encoding="utf-8")
        if markdown_file is not None:
            markdown_file.write_text(markdown(run.report), encoding="utf-8")


class _Bars:
    """A bar for each scorer, for as long as it scores.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> "_Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, scorer: "ScorerInfo", done: int, total: int) -> None:
        """A scorer is so far."""
        if scorer.kind == "baseline":
            return  # done before a bar is drawn
        if scorer.name not in self._tasks:
            self._tasks[scorer.name] = self._progress.add_task(scorer.name, total=total)
        self._progress.update(self._tasks[scorer.name], completed=done)


def _labels(checkpoints: Sequence[str]) -> list[str]:
    """The last part of each name, or the whole name where that would be twice the same."""
    if len(set(checkpoints)) < len(checkpoints):
        raise ConfigurationError("a checkpoint is named twice; name each once")
    short = [Path(name).name or name for name in checkpoints]
    return [
        label if short.count(label) == 1 else name
        for label, name in zip(short, checkpoints, strict=True)
    ]


def _sections(path: Path | None) -> Mapping[str, Sequence[str]]:
    """Names of subsets by section."""
    if path is None:
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} can't be read: {type(error).__name__}") from error
    whole = isinstance(value, dict) and all(
        isinstance(names, list) and all(isinstance(name, str) for name in names)
        for names in value.values()
    )
    if not whole:
        raise ConfigurationError(
            f'{path} must hold lists of subset names by section: Chat = ["alpaca-easy", "mt-bench"]'
        )
    return dict(value)


def _check_writable(path: Path | None) -> None:
    """Refuse an output that can't be written before hours are spent on it."""
    if path is None:
        return
    if not path.parent.is_dir():
        raise ConfigurationError(f"{path.parent} is no directory; make it, or write elsewhere")
    if path.is_dir():
        raise ConfigurationError(f"{path} is a directory; name a file")


def _side(
    records: "Sequence[PreferenceRecord]", split: Split, fraction: float, seed: int
) -> "tuple[Sequence[PreferenceRecord], Sequence[Example]]":
    """The records to evaluate on, and what a bag of words may be fitted on."""
    if split == "all":
        return records, ()
    from training.data.filters import filtered_examples
    from training.data.prepare import assign_splits
    from training.errors import DataError

    sides = assign_splits(records, fraction=fraction, seed=seed)
    if not sides[split]:
        raise DataError(f"no record is on the {split} side; evaluate --split all")
    rest = sides["train"] if split == "heldout" else ()
    return sides[split], filtered_examples(rest).examples


def _facts(read: "ReadRecords", split: Split) -> "DataFacts":
    from collections import Counter

    from training.evaluation.run import DataFacts

    left_out = Counter(reason for reason, _ in read.unusable)
    left_out["malformed"] += len(read.malformed)
    return DataFacts(read.formats, split, {reason: n for reason, n in left_out.items() if n})
