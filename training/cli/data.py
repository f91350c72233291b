"""`rewardd data`: what preference data holds, before anything is trained on it."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from rm_core.errors import ConfigurationError
from rm_core.types import Role
from training.cli.errors import exit_on_error
from training.cli.options import FORMAT_HELP, format_names
from training.types import Recipe

if TYPE_CHECKING:
    from training.data.build import DialogueEncoder
    from training.data.formats.options import Decode
    from training.data.report import DataReport

_console = Console(stderr=True)  # errors
_results = Console()


def report_data(  # noqa: PLR0913, PLR0917 - one parameter a flag is how typer reads a command
    sources: Annotated[
        list[str],
        typer.Argument(help="Files, folders or hub names, as `train --data` takes them."),
    ],
    role: Annotated[Role, typer.Option(help="What would be trained.")] = "helpfulness",
    base: Annotated[
        str | None,
        typer.Option(
            help="Count tokens of this model's tokenizer; else characters.", show_default="none"
        ),
    ] = None,
    format: Annotated[  # noqa: A002 - the flag's name
        str | None,
        typer.Option(help=FORMAT_HELP, autocompletion=format_names, show_default="detected"),
    ] = None,
    mixture: Annotated[
        Recipe | None,
        typer.Option(help="Draw by a recipe.", show_default="by the sources' weights"),
    ] = None,
    max_length: Annotated[
        int, typer.Option(min=1, help="With --base: longer ones are left out, as in `train`.")
    ] = 1024,
    heldout_fraction: Annotated[
        float, typer.Option(min=0.0, max=0.99, help="As in `train`.")
    ] = 0.1,
    split_seed: Annotated[int, typer.Option(help="As in `train`.")] = 0,
    max_malformed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Stop a file with more malformed rows than this.",
            show_default="20, or 1 % of what was read",
        ),
    ] = None,
    ids: Annotated[int, typer.Option(min=0, help="How many ids to name of each finding.")] = 5,
    rows: Annotated[
        int, typer.Option(min=0, help="How many rows to show as they were understood.")
    ] = 1,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write the whole report here.", show_default="none"),
    ] = None,
) -> None:
    """Report what preference data holds and what of it would be left out, without training."""
    with exit_on_error(_console):
        from training.data.formats.writer import parsed_source
        from training.data.mixture import read_mixture
        from training.data.prepare import DataOptions, accounted_data
        from training.data.shown import shown_record

        decode = _decoder(base)
        read = read_mixture(
            [parsed_source(text, role=role, decode=decode) for text in sources],
            recipe=mixture,
            heldout_fraction=heldout_fraction,
            seed=split_seed,
            format_name=format,
            max_malformed=max_malformed,
        )
        options = DataOptions(
            role=role,
            heldout_fraction=heldout_fraction,
            split_seed=split_seed,
            targets=frozenset({"pairs", "ratings", "steps", "is_safe"}),
        )
        report = accounted_data(read, _encoder(base, max_length), options).report
        _show(report if base else replace(report, length_unit="characters"), ids, json_file)
        for record in read.records[:rows]:
            _print(f"{record.id} as it was understood:\n{shown_record(record)}")


def _decoder(base: str | None) -> "Decode | None":
    if base is None:
        return None
    from training.modeling.token_decoder import BaseDecoder

    return BaseDecoder(base)


def _encoder(base: str | None, max_length: int) -> "DialogueEncoder":
    if base is None:
        from training.data.character_encoder import CharacterEncoder

        return CharacterEncoder()
    from training.modeling.reward_model import encoder_from

    # For a template that asks: every day's texts are about as long.
    today = datetime.now(UTC).date().isoformat()
    return encoder_from(base, max_length=max_length, template_date=today)


def _show(report: "DataReport", ids: int, json_file: Path | None) -> None:
    _print(report.to_text(most_ids=ids))
    if json_file is not None:
        try:
            json_file.write_text(json.dumps(report.to_json(), indent=2, ensure_ascii=False) + "\n")
        except OSError as error:
            raise ConfigurationError(f"can't write {json_file}: {error.strerror}") from error


def _print(text: str) -> None:
    _results.print(text, highlight=False, markup=False, soft_wrap=True)
