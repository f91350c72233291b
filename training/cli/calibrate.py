"""`rewardd calibrate`: temperature, bias, τ and reward baseline of a checkpoint that stands."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from rm_core.types import DType
from training.cli.errors import exit_on_error
from training.cli.options import DEVICES, FORMAT_HELP, format_names

_console = Console(stderr=True)  # progress and errors
_results = Console()


def calibrate_checkpoint_command(  # noqa: PLR0913, PLR0917 - one parameter a flag is how typer reads a command
    checkpoint: Annotated[
        Path, typer.Argument(help="Directory of a reward model, ours or plain transformers'.")
    ],
    data: Annotated[
        list[str],
        typer.Option(
            help="Pairs, or responses with is_safe labels, that the model was not trained on; may "
            "be given several times."
        ),
    ],
    role: Annotated[
        Literal["safety", "helpfulness"] | None,
        typer.Option(
            help="Of a model without reward_model.json.", show_default="what that file says"
        ),
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            help="Responses sampled from the reference policy, for baseline and drift; no ranking "
            "needed. May be given several times.",
            show_default="the held-out responses",
        ),
    ] = None,
    target_precision: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=1.0,
            help="Of `unsafe` below the safety threshold (LLaMA-2: 0.89).",
        ),
    ] = 0.89,
    method: Annotated[
        Literal["auto", "labels", "pairs", "none"],
        typer.Option(
            help="What temperature and bias are fitted on; auto: is_safe labels for the safety "
            "role where they suffice, else pairs."
        ),
    ] = "auto",
    split: Annotated[
        Literal["heldout", "all"] | None,
        typer.Option(
            help="heldout: records that its training held out; all: every record.",
            show_default="heldout for a model trained here, else all",
        ),
    ] = None,
    format: Annotated[  # noqa: A002 - the flag's name
        str | None,
        typer.Option(help=FORMAT_HELP, autocompletion=format_names, show_default="detected"),
    ] = None,
    device: Annotated[str, typer.Option(metavar=DEVICES, help="Where it runs.")] = "auto",
    dtype: Annotated[
        DType, typer.Option(help="Numbers of the forward pass: as it will be served.")
    ] = "auto",
    truncate: Annotated[
        Literal["error", "prompt"],
        typer.Option(help="error: leave over-long texts out; prompt: cut the prompt's left."),
    ] = "error",
    seed: Annotated[int, typer.Option(help="Of folds and resampling.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it, and write nothing.")] = False,
) -> None:
    """Fit temperature, bias, safety threshold and reward baseline, and write reward_model.json."""
    with exit_on_error(_console):
        from transformers.utils.logging import disable_progress_bar

        from training.calibration.calibrate import CalibrationOptions
        from training.calibration.checkpoint import (
            CheckpointRequest,
            baseline_weight_of,
            calibrate_checkpoint,
            checkpoint_role,
        )
        from training.progress import ConsoleProgress

        disable_progress_bar()  # of loading, which is short
        options = CalibrationOptions(
            role=checkpoint_role(checkpoint, role),
            method=method,
            target_precision=target_precision,
            baseline_weight=baseline_weight_of(checkpoint),
            seed=seed,
        )
        request = CheckpointRequest(
            checkpoint=checkpoint,
            data=tuple(data),
            options=options,
            split=split,
            reference=tuple(reference or ()),
            format=format,
            device=device,
            dtype=dtype,
            truncate=truncate,
            write=not dry_run,
        )
        result = calibrate_checkpoint(request, progress=ConsoleProgress(_console))
        _results.print(result.to_text(), highlight=False, markup=False, soft_wrap=True)
        _results.print(
            "nothing was written"
            if dry_run
            else f"reward_model.json in {checkpoint} is written; restart its server, and begin new "
            "streams, as old ones hold rewards of the old scale",
            highlight=False,
            soft_wrap=True,
        )
