"""The commands of training, for the `rewardd` command to mount.

torch and transformers are imported inside the commands, so that `rewardd --help` stays quick and
the plain client install works without them.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from training.cli.calibrate import calibrate_checkpoint_command
from training.cli.data import report_data
from training.cli.errors import exit_on_error
from training.cli.evaluate import evaluate_checkpoints
from training.cli.options import command_with, with_training_options

if TYPE_CHECKING:
    from training.pipeline import TrainingResult

_console = Console(stderr=True)  # progress and errors
_results = Console()


def register(app: typer.Typer) -> None:
    """Mount the commands of training on the command line."""
    app.command("train")(train)
    app.command("make-base")(make_base)
    app.command("eval")(evaluate_checkpoints)
    app.command("calibrate")(calibrate_checkpoint_command)
    app.command("data")(report_data)


@with_training_options
def train(*, context: typer.Context, config: Path | None, **flags: Any) -> None:
    """Train one reward model from preference data and write its checkpoint."""
    with exit_on_error(_console):
        from training.config import load_config
        from training.distributed import join_processes
        from training.pipeline import run_directory, train_reward_model
        from training.progress import ConsoleProgress

        processes = join_processes()
        settings = processes.from_first(lambda: load_config(config, flags))
        result = train_reward_model(
            settings,
            progress=ConsoleProgress(_console),
            command_with=partial(command_with, context),
        )
        if not processes.is_first:
            return
        print_result(settings.role, result)
        _results.print(
            f"checkpoint in {settings.output}; TensorBoard log: tensorboard --logdir "
            f"{run_directory(Path(settings.output))}",
            highlight=False,
            markup=False,
            soft_wrap=True,
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
    """Show held-out figures beside the baselines."""
    from training.evaluation.rendering import print_tables, results_console
    from training.evaluation.tables.heldout import accuracy_table, sentences
    from training.evaluation.tables.scorers import strength_tables

    figures = result.figures
    accuracy = accuracy_table(figures, result.baselines)
    if accuracy is not None and figures.pairs is not None:
        _results.print(f"{role} reward model", style="bold", highlight=False)
        print_tables([accuracy, *strength_tables([figures])], results_console())
        _results.print(
            f"loss {figures.pairs.loss:.4f} (a coin's is 0.6931); mean reward of chosen "
            f"{figures.pairs.mean_chosen:+.3f}, of rejected {figures.pairs.mean_rejected:+.3f}",
            highlight=False,
        )
        if not figures.pairs.accuracy.excludes_chance:
            _results.print(
                "The interval includes 50 %: this model may be guessing.", style="yellow"
            )
    for line in sentences(figures):
        _results.print(line, highlight=False)
    _results.print(result.calibration.to_text(), highlight=False, markup=False, soft_wrap=True)
    if result.page is not None:
        _results.print(f"report: {result.page}", highlight=False, markup=False, soft_wrap=True)
    _results.print(f"{result.seconds:.0f} s", highlight=False)
