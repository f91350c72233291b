"""The whole of one training: read, encode, train, measure, publish."""

import time
from dataclasses import dataclass
from pathlib import Path

from rm_core.manifest import RewardModelManifest
from training.baselines import baseline_accuracies
from training.config import TrainingConfig
from training.data import DataOptions, PreparedData, prepare_data
from training.data_report import DataReport
from training.decoding import BaseDecoder
from training.evaluation import Accuracy, Evaluation, evaluate, score_comparisons
from training.formats.reading import ReadRecords
from training.losses import targets_of
from training.mixture import parsed_source, read_mixture
from training.models import UntrainedRewardModel, reward_model_from
from training.processes import join_processes
from training.progress import Progress, SilentProgress
from training.publish import check_output, publish
from training.trainer import train


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training left behind.

    Attributes:
        manifest: as written to the checkpoint.
        report: what became of the data.
        evaluation: held-out figures.
        baselines: held-out accuracies of the baselines.
        seconds: of the whole training, reading and measuring included.
    """

    manifest: RewardModelManifest
    report: DataReport
    evaluation: Evaluation
    baselines: dict[str, Accuracy]
    seconds: float


def run_directory(output: Path) -> Path:
    """Where a run keeps its resumable checkpoints and its TensorBoard log: beside the output."""
    return output.with_name(f"{output.name}.run")


def train_reward_model(
    config: TrainingConfig, *, progress: Progress | None = None
) -> TrainingResult:
    """Train one reward model and write its checkpoint.

    Args:
        config: what, on what, how and where to.
        progress: told of each stage and update; None: silence.

    Raises:
        RewardError: data, base or configuration can't be used, or training diverged; nothing is
            written to `config.output` then.
    """
    processes = join_processes()
    progress = (progress if processes.is_first else None) or SilentProgress()
    started = time.monotonic()
    processes.from_first(lambda: check_output(Path(config.output)))
    found: list[ReadRecords] = []  # of process 0; the others get what is made of it
    processes.from_first(lambda: found.append(read_sources(config)))
    progress.say(f"loading {config.base}")
    start = reward_model_from(config.base, max_length=config.max_length, seed=config.seed)
    data = processes.from_first(lambda: _prepared(config, found[0], start, progress))
    trained = train(
        start,
        data.train,
        config,
        run_directory=run_directory(Path(config.output)),
        callbacks=progress.callbacks(f"{config.role} RM"),
        say=progress.say,
    )
    return processes.from_first(lambda: _finished(trained, data, config, progress, started))


def read_sources(config: TrainingConfig) -> ReadRecords:
    """What the configured sources hold, drawn as the configuration's mixture says.

    Raises:
        DataError: they can't be read, or nothing in them can be used.
        ConfigurationError: a source or the mixture says what can't be meant.
    """
    decode = BaseDecoder(config.base)
    return read_mixture(
        [parsed_source(text, role=config.role, decode=decode) for text in config.data],
        recipe=config.mixture,
        heldout_fraction=config.heldout_fraction,
        seed=config.split_seed,
        format_name=config.format,
        max_malformed=config.max_malformed,
    )


def _finished(
    trained: UntrainedRewardModel,
    data: PreparedData,
    config: TrainingConfig,
    progress: Progress,
    started: float,
) -> TrainingResult:
    """Measure and publish."""
    progress.say("measuring on the held-out split")
    rewards = score_comparisons(trained.model, data.heldout, pad_token_id=trained.pad_token_id)
    evaluation = evaluate(data.heldout, rewards, seed=config.seed)
    baselines = baseline_accuracies(data.train, data.heldout, seed=config.seed)
    manifest = publish(trained, config, data.report, evaluation, baselines)
    return TrainingResult(manifest, data.report, evaluation, baselines, time.monotonic() - started)


def _prepared(
    config: TrainingConfig, read: ReadRecords, start: UntrainedRewardModel, progress: Progress
) -> PreparedData:
    """Encode the data and account for it."""
    progress.say(f"encoding {len(read.records)} records")
    options = DataOptions(
        role=config.role,
        margins=config.margins,
        heldout_fraction=config.heldout_fraction,
        split_seed=config.split_seed,
        truncate=config.truncate,
        targets=targets_of(config.weights),
    )
    data = prepare_data(read, start.encoder, options)
    progress.say(data.report.to_text())
    return data
