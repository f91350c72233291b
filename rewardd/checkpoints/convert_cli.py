"""`rewardd convert`: reward models of other projects into ours, and back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from rm_core.text.contract import EosRule, ReadRule, Rendering
from rm_core.types import Role
from training.cli.errors import exit_on_error

if TYPE_CHECKING:
    from rewardd.checkpoints.convert.run import Conversion

_console = Console(stderr=True)  # warnings and errors
_results = Console()

# Those of `convert.source` and `convert.run`, which import torch; a test holds them equal.
LayoutName = Literal[
    "rewardd", "transformers", "llama-factory", "openrlhf", "trl", "deepspeed-chat"
]
HeadActivation = Literal["relu", "tanh", "gelu", "silu", "sigmoid"]
Target = Literal["rewardd", "transformers", "openrlhf", "llama-factory", "trl"]


def convert_checkpoint(  # noqa: PLR0913, PLR0917 - one parameter a flag is how typer reads it
    source: Annotated[str, typer.Argument(help="Reward model: a directory or a hub name.")],
    output: Annotated[Path, typer.Argument(help="Directory for the converted checkpoint.")],
    from_layout: Annotated[
        LayoutName | None,
        typer.Option("--from", help="The source's layout.", show_default="told by its files"),
    ] = None,
    to: Annotated[Target, typer.Option(help="The result's layout.")] = "rewardd",
    role: Annotated[
        Role | None, typer.Option(help="For --to rewardd.", show_default="the source's")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Where an adapter's base is.", show_default="where the adapter says"),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="Directory of the tokenizer.", show_default="the source's own"),
    ] = None,
    read: Annotated[
        ReadRule | None,
        typer.Option(help="Which token the source reads.", show_default="as its layout does"),
    ] = None,
    eos: Annotated[
        EosRule | None,
        typer.Option(help="How its texts end.", show_default="as its layout does"),
    ] = None,
    rendering: Annotated[
        Rendering | None,
        typer.Option(
            help="How prompt and response become a text: `pair` as two segments, for encoders "
            "that were trained so.",
            show_default="as its layout does",
        ),
    ] = None,
    num_padding_at_beginning: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="DeepSpeed-Chat's setting of that name.",
            show_default="its own",
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            help="Which tensor or module is the reward head: `regression_head`; `lm_head[0]` takes "
            "the logit of token 0.",
            show_default="as its layout says",
        ),
    ] = None,
    head_activation: Annotated[
        HeadActivation | None,
        typer.Option(
            help="What stands between the layers of a head that has several.",
            show_default="as its config says",
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
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace the finished model in OUTPUT, once the new one is whole; without it such "
            "an output is refused.",
        ),
    ] = False,
) -> None:
    """Convert a reward model from another project's layout, or into it, scores proven equal."""
    with exit_on_error(_console):
        from rewardd.checkpoints.convert.run import ConvertOptions, convert
        from rewardd.checkpoints.convert.source import ReadOptions

        if allow_pickle:
            _console.print(
                "warning: --allow-pickle reads pickles with torch.load(weights_only=True); only "
                "for files whose maker you trust",
                style="yellow",
            )
        options = ConvertOptions(
            layout=from_layout,
            target=to,
            role=role,
            read=read,
            eos=eos,
            rendering=rendering,
            tokenizer=tokenizer,
            allow_pickle=allow_pickle,
            verify=verify,
            overwrite=overwrite,
            reading=ReadOptions(
                base,
                num_padding_at_beginning,
                head,
                head_activation,
            ),
        )
        _show(convert(source, output, options), output)


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
