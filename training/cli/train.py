"""The commands of training, for the `rewardd` command to mount.

torch and transformers are imported inside the commands, so that `rewardd --help` stays quick and
the plain client install works without them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from training.cli.ablate import ablate
from training.cli.calibrate import calibrate_checkpoint_command
from training.cli.data import report_data
from training.cli.errors import exit_on_error
from training.cli.evaluate import evaluate_checkpoints

if TYPE_CHECKING:
    from collections.abc import Mapping

    from training.evaluation import Accuracy, Evaluation
    from training.pipeline import TrainingResult

_console = Console(stderr=True)  # progress and errors
_results = Console()


def register(app: typer.Typer) -> None:
    """Mount the commands of training on the command line."""
    app.command("train")(train)
    app.command("make-base")(make_base)
    app.command("ablate")(ablate)
    app.command("eval")(evaluate_checkpoints)
    app.command("calibrate")(calibrate_checkpoint_command)
    app.command("data")(report_data)


def train(  # noqa: PLR0913, PLR0917 - one parameter a flag is how typer reads a command
    role: Annotated[str | None, typer.Option(help="safety or helpfulness.")] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help=r"File, folder or hub name of preference data, PLACE\[@PART][,key=value…]; may be "
            "given several times."
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Language model or encoder to start from: a directory or a hub name."),
    ] = None,
    output: Annotated[str | None, typer.Option(help="Directory for the checkpoint.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with any of the settings; flags win over it.")
    ] = None,
    format: Annotated[  # noqa: A002 - the flag's name
        str | None, typer.Option(help="Read every file as this format instead of detecting it.")
    ] = None,
    mixture: Annotated[
        str | None, typer.Option(help="Draw by a recipe: llama2_helpfulness or llama2_safety.")
    ] = None,
    max_malformed: Annotated[
        int | None, typer.Option(help="Stop a file with more malformed rows than this.")
    ] = None,
    heldout_fraction: Annotated[
        float | None, typer.Option(help="Share of prompts held out where rows name no split.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Most tokens of prompt and response together.")
    ] = None,
    truncate: Annotated[
        str | None, typer.Option(help="error: leave over-long ones out; prompt: cut its left.")
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(help="What to minimise: NAME or NAME=WEIGHT; may be given several times."),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(help="Where a reward is read: last_token, mean or per_token."),
    ] = None,
    trainable: Annotated[
        str | None,
        typer.Option(help="What is trained: full, head (the trunk runs once), lora or qlora."),
    ] = None,
    freeze_layers: Annotated[
        int | None,
        typer.Option(help="Leave the embeddings and so many of the lowest layers as they are."),
    ] = None,
    merge_adapter: Annotated[
        bool | None,
        typer.Option(
            "--merge-adapter/--no-merge-adapter",
            help="Publish LoRA merged into its base, or apart, naming it.",
        ),
    ] = None,
    margins: Annotated[
        str | None, typer.Option(help="Margins for grades of strength: none, small or large.")
    ] = None,
    safety_auxiliary_weight: Annotated[
        float | None, typer.Option(help="Weight of the auxiliary loss on is_safe; 0 is off.")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Prompts in one forward pass.")] = None,
    gradient_accumulation: Annotated[
        int | None, typer.Option(help="Forward passes in one update.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto (bf16 on a GPU that has it), fp32 or bf16.")
    ] = None,
    packing: Annotated[
        bool | None,
        typer.Option(
            "--packing/--no-packing", help="Compute prompts once for all their responses."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the head and of the data's order.")] = None,
    calibration: Annotated[
        str | None,
        typer.Option(help="Temperature and bias fitted on: auto, labels, pairs or none."),
    ] = None,
    safety_target_precision: Annotated[
        float | None, typer.Option(help="Of `unsafe` below the safety threshold; 0.89.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(help="Responses of the reference policy, for the reward baseline and drift."),
    ] = None,
    report: Annotated[
        bool | None,
        typer.Option(
            "--report/--no-report",
            help="Write report.html beside the checkpoint; it quotes held-out data.",
        ),
    ] = None,
    save_steps: Annotated[
        int | None, typer.Option(help="Updates between resumable checkpoints; 0: none.")
    ] = None,
    resume: Annotated[
        bool | None, typer.Option("--resume", help="Go on from the last resumable checkpoint.")
    ] = None,
) -> None:
    """Train one reward model from preference data and write its checkpoint."""
    flags = dict(locals())
    path = flags.pop("config")
    with exit_on_error(_console):
        from training.config import load_config
        from training.distributed import join_processes
        from training.pipeline import run_directory, train_reward_model
        from training.progress import ConsoleProgress

        processes = join_processes()
        settings = processes.from_first(lambda: load_config(path, flags))
        result = train_reward_model(settings, progress=ConsoleProgress(_console))
        if not processes.is_first:
            return
        print_result(settings.role, result)
        _results.print(
            f"checkpoint in {settings.output}; TensorBoard log: tensorboard --logdir "
            f"{run_directory(Path(settings.output))}",
            highlight=False,
        )


def make_base(
    data: Annotated[list[str], typer.Option(help="Preference data whose text to learn.")],
    output: Annotated[Path, typer.Option(help="Directory for the language model.")],
    hidden: Annotated[int, typer.Option(help="The trunk's width.")] = 128,
    layers: Annotated[int, typer.Option(help="Decoder layers.")] = 2,
    epochs: Annotated[float, typer.Option(help="Passes over the text.")] = 2.0,
    vocabulary: Annotated[int, typer.Option(help="Most tokens of the vocabulary.")] = 4096,
    heldout_fraction: Annotated[
        float, typer.Option(help="As in `train`: the text of held-out prompts is left out.")
    ] = 0.1,
) -> None:
    """Make a small causal language model from the train side of preference data.

    For trying the path without a download; a pretrained base makes a far better reward model.
    """
    with exit_on_error(_console):
        from training.data.formats import read_records
        from training.data.prepare import train_side_dialogues
        from training.modeling.small_lm import BaseModelConfig, check_base_output, make_base_model
        from training.progress import ConsoleProgress

        check_base_output(output)
        progress = ConsoleProgress(_console)
        dialogues = train_side_dialogues(
            read_records(data).records, fraction=heldout_fraction, seed=0
        )
        progress.say(f"{len(dialogues)} dialogues of the train side")
        size = BaseModelConfig(hidden=hidden, layers=layers, epochs=epochs, vocabulary=vocabulary)
        make_base_model(dialogues, output, size, callbacks=progress.callbacks("language model"))
        progress.say(f"language model in {output}")


def print_result(role: str, result: "TrainingResult") -> None:
    """Show held-out figures beside the baselines.

    Args:
        role: the model's role.
        result: of its training.
    """
    figures = result.figures
    if figures.pairs is not None:
        _results.print(_accuracy_table(role, figures.pairs, result.baselines))
        _results.print(
            f"loss {figures.pairs.loss:.4f} (a coin's is 0.6931); mean reward of chosen "
            f"{figures.pairs.mean_chosen:+.3f}, of rejected {figures.pairs.mean_rejected:+.3f}",
            highlight=False,
        )
        if not figures.pairs.accuracy.excludes_chance:
            _results.print(
                "The interval includes 50 %: this model may be guessing.", style="yellow"
            )
    for line in figures.lines():
        _results.print(line, highlight=False)
    _results.print(result.calibration.to_text(), highlight=False, markup=False, soft_wrap=True)
    if result.page is not None:
        _results.print(f"report: {result.page}", highlight=False, markup=False, soft_wrap=True)
    _results.print(f"{result.seconds:.0f} s", highlight=False)


def _accuracy_table(role: str, pairs: "Evaluation", baselines: "Mapping[str, Accuracy]") -> Table:
    from training.evaluation.baselines import BASELINES

    table = Table(title=f"{role} RM on {pairs.prompts} held-out prompts", title_justify="left")
    for heading in ("", "accuracy", "95 % by prompts", "pairs", "how it chooses"):
        table.add_column(heading)
    rows = [("reward model", pairs.accuracy, "reads prompt and response")]
    rows += [
        (name.replace("_", " "), accuracy, BASELINES[name]) for name, accuracy in baselines.items()
    ]
    rows += [
        (f"  {grade.replace('_', ' ')}", accuracy, "reward model, this grade only")
        for grade, accuracy in pairs.by_strength.items()
    ]
    for name, accuracy, how in rows:
        interval = accuracy.bootstrap
        table.add_row(
            name,
            f"{accuracy.value:.1%}",
            f"{interval.low:.1%} – {interval.high:.1%}",
            str(accuracy.pairs),
            how,
        )
    return table
