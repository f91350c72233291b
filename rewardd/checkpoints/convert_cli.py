"""`rewardd convert`: reward models of other projects into ours, and back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, get_args

import typer
from rich.console import Console

from rm_core.errors import ConfigurationError
from rm_core.text.contract import EosRule, ReadRule
from rm_core.types import ROLES
from training.cli.errors import exit_on_error

if TYPE_CHECKING:
    from rewardd.checkpoints.convert.run import Conversion

_console = Console(stderr=True)  # warnings and errors
_results = Console()

Choice = TypeVar("Choice", bound=str)


def convert_checkpoint(  # noqa: PLR0913, PLR0917 - one parameter a flag is how typer reads it
    source: Annotated[str, typer.Argument(help="Reward model: a directory or a hub name.")],
    output: Annotated[Path, typer.Argument(help="Directory for the converted checkpoint.")],
    from_layout: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="rewardd, transformers, llama-factory, openrlhf, trl or deepspeed-chat; told by "
            "the files where it is not said.",
        ),
    ] = None,
    to: Annotated[
        str, typer.Option(help="rewardd, transformers, openrlhf, llama-factory or trl.")
    ] = "rewardd",
    role: Annotated[
        str | None, typer.Option(help="For --to rewardd: safety or helpfulness.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Where an adapter's base is, if not where it says.")
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Directory of the tokenizer, if not the source's.")
    ] = None,
    read: Annotated[
        str | None,
        typer.Option(help="Which token the source reads: last_token or last_non_pad."),
    ] = None,
    eos: Annotated[
        str | None, typer.Option(help="How its texts end: if_absent, closing or never.")
    ] = None,
    num_padding_at_beginning: Annotated[
        int | None,
        typer.Option(
            min=0, help="DeepSpeed-Chat's setting of that name, where it was not its own."
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            help="Which tensor or module is the reward head, where no known layout tells it: "
            "`regression_head`; `lm_head[0]` takes the logit of token 0."
        ),
    ] = None,
    head_activation: Annotated[
        str | None,
        typer.Option(
            help="What stands between the layers of a head that has several: relu, tanh, gelu, "
            "silu or sigmoid."
        ),
    ] = None,
    allow_pickle: Annotated[
        bool,
        typer.Option(
            "--allow-pickle", help="Read pickled weights, as plain tensors; for trusted files."
        ),
    ] = False,
    verify: Annotated[
        bool, typer.Option(help="Compare rewards of source and result, and refuse a difference.")
    ] = True,
) -> None:
    """Convert a reward model from another project's layout, or into it, scores proven equal."""
    with exit_on_error(_console):
        from rewardd.checkpoints.convert.run import TARGETS, ConvertOptions, convert
        from rewardd.checkpoints.convert.source import LAYOUT_NAMES, ReadOptions
        from rm_core.checkpoint.heads import ACTIVATIONS

        if allow_pickle:
            _console.print(
                "warning: --allow-pickle reads pickles with torch.load(weights_only=True); only "
                "for files whose maker you trust",
                style="yellow",
            )
        options = ConvertOptions(
            layout=_one_of("--from", from_layout, LAYOUT_NAMES),
            target=_one_of("--to", to, TARGETS) or "rewardd",
            role=_one_of("--role", role, ROLES),
            read=_one_of("--read", read, get_args(ReadRule)),
            eos=_one_of("--eos", eos, get_args(EosRule)),
            tokenizer=tokenizer,
            allow_pickle=allow_pickle,
            verify=verify,
            reading=ReadOptions(
                base,
                num_padding_at_beginning,
                head,
                _one_of("--head-activation", head_activation, tuple(ACTIVATIONS)),
            ),
        )
        _show(convert(source, output, options), output)


def _one_of(flag: str, value: str | None, choices: tuple[Choice, ...]) -> Choice | None:
    if value is None:
        return None
    for choice in choices:
        if value == choice:
            return choice
    raise ConfigurationError(f"{flag} must be one of {', '.join(choices)}")


def _show(conversion: "Conversion", output: Path) -> None:
    position = conversion.position
    lines = [
        f"{conversion.layout} → {conversion.target}: {output}",
        f"texts: {position.rendering}, BOS {position.bos}, EOS {position.eos}, read at "
        f"{position.read}, at most {position.max_length} tokens",
    ]
    agreed = conversion.agreement
    if agreed is None:
        lines.append("scores: not compared (--no-verify)")
    else:
        lines.append(
            f"scores: {agreed.probes} probe dialogues, largest difference "
            f"{agreed.largest_difference:.1e} (rewards up to {agreed.largest_reward:.3g})"
        )
    lines += [f"note: {note}" for note in conversion.notes]
    for line in lines:
        _results.print(line, highlight=False, markup=False, soft_wrap=True)
