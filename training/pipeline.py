"""The whole of one training: read, encode, train, measure, publish."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rm_core.checkpoint.manifest import RewardModelManifest
from training.calibration.calibrate import (
    CalibrationOptions,
    CalibrationResult,
    calibrate_rewards,
)
from training.calibration.observations import observations_of
from training.calibration.readers import Reader, trained_reader
from training.calibration.references import (
    ReferenceRewards,
    heldout_rewards,
    read_references,
    reference_rewards,
)
from training.config import TrainingConfig
from training.data.examples import EncodedExample
from training.data.formats.reading import ReadRecords
from training.data.formats.writer import parsed_source
from training.data.mixture import read_mixture
from training.data.prepare import DataOptions, PreparedData, prepare_data
from training.data.report import DataReport
from training.distributed import join_processes
from training.errors import DataError
from training.evaluation import Accuracy, Figures
from training.evaluation.baselines import baseline_accuracies
from training.evaluation.heldout import measure
from training.evaluation.scorer import Candidate
from training.losses import targets_of
from training.modeling.reward_model import (
    TrainableModel,
    check_base,
    encoder_from,
    reward_model_from,
)
from training.modeling.token_decoder import BaseDecoder
from training.modeling.trainable import check_trainable, quantisation_for
from training.optimization.fit import Fitted, fit
from training.optimization.resume import check_resumable
from training.optimization.trainer import uses_bf16
from training.optimization.updates import (
    few_updates_warning,
    num_updates,
    settings_for_enough,
)
from training.progress import Progress, SilentProgress
from training.publishing.publish import check_output, publish, refuse_finished
from training.publishing.report.inputs import ReportInputs
from training.publishing.report.plots.all_plots import draw_plots
from training.publishing.report.writer import card_pictures, report_directory, write_report


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training left behind.

    Attributes:
        manifest: as written to the checkpoint.
        report: what became of the data.
        figures: measured on the held-out split, as the baselines are.
        seconds: of the whole training, reading and measuring included.
        page: the HTML report; None: none was asked for.
    """

    manifest: RewardModelManifest
    report: DataReport
    figures: Figures
    baselines: dict[str, Accuracy]
    calibration: CalibrationResult
    seconds: float
    page: Path | None = None


def run_directory(output: Path) -> Path:
    """Where a run keeps its resumable checkpoints and its TensorBoard log: beside the output."""
    return output.with_name(f"{output.name}.run")


def train_reward_model(
    config: TrainingConfig,
    *,
    progress: Progress | None = None,
    command_with: Callable[[Mapping[str, Any]], str] | None = None,
) -> TrainingResult:
    """Train one reward model and write its checkpoint.

    Args:
        config: the recipe.
        progress: told of each stage; None: silence.
        command_with: writes the command of this training with other settings, for the warning of
            too few updates; None: whoever calls knows how many there are.

    Raises:
        RewardError: data, base or configuration can't be used, or training diverged; nothing is
            written to `config.output` then.
    """
    processes = join_processes()
    progress = (progress if processes.is_first else None) or SilentProgress()
    started = time.monotonic()
    processes.from_first(lambda: _check_beforehand(config))
    found: list[ReadRecords] = []  # of process 0; the others get what is made of it
    references: list[Candidate] = []
    processes.from_first(lambda: found.append(read_sources(config)))
    processes.from_first(lambda: references.extend(read_references(config.reference)))
    # Encoding needs no weights: data of which nothing is left are an error before any are loaded.
    data = processes.from_first(lambda: encode_data(config, found.pop(), progress))
    if command_with is not None and not config.resume:
        _warn_of_few_updates(config, len(data.train), processes.count, progress, command_with)
    progress.say(f"loading {config.base}")
    start = reward_model_from(
        config.base,
        max_length=config.max_length,
        seed=config.seed,
        quantisation=quantisation_for(config),
        template_date=config.template_date,
    )
    fitted = fit(
        start,
        data,
        config,
        run_directory=run_directory(Path(config.output)),
        progress=progress,
    )
    return processes.from_first(
        lambda: _finished(fitted, data, config, progress, started, references)
    )


def _check_beforehand(config: TrainingConfig) -> None:
    """Refuse at once what reading and encoding the data would not change."""
    check_output(Path(config.output))
    if not config.overwrite:
        refuse_finished(Path(config.output))
    check_trainable(config)
    uses_bf16(config)
    if config.resume:
        check_resumable(run_directory(Path(config.output)))


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


def encode_data(config: TrainingConfig, read: ReadRecords, progress: Progress) -> PreparedData:
    """Encode the data as the configuration trains on them, and tell what was left out.

    Raises:
        CheckpointError: the base can't be trained, as its files show.
        DataError: nothing is left to train on or to evaluate on.
    """
    check_base(config.base)
    encoder = encoder_from(
        config.base, max_length=config.max_length, template_date=config.template_date
    )
    progress.say(f"encoding {len(read.records)} records")
    options = DataOptions(
        role=config.role,
        margins=config.margins,
        heldout_fraction=config.heldout_fraction,
        split_seed=config.split_seed,
        truncate=config.truncate,
        targets=targets_of(config.weights),
        head=config.head,
    )
    data = prepare_data(read, encoder, options)
    progress.say(data.report.to_text())
    return data


def _warn_of_few_updates(
    config: TrainingConfig,
    num_examples: int,
    processes: int,
    progress: Progress,
    command_with: Callable[[Mapping[str, Any]], str],
) -> None:
    settings = settings_for_enough(config, num_examples, processes)
    if settings:
        updates = num_updates(config, num_examples, processes)
        # By the time that it is pasted, this training may have left its model there.
        command = command_with({**settings, "overwrite": True})
        progress.say(few_updates_warning(updates, num_examples, settings, command))


def _finished(
    fitted: Fitted,
    data: PreparedData,
    config: TrainingConfig,
    progress: Progress,
    started: float,
    references: Sequence[Candidate],
) -> TrainingResult:
    """Measure, calibrate and publish."""
    progress.say("measuring on the held-out split")
    trained = fitted.trained
    figures, rewards = measure(
        fitted.scoring_model,
        data.heldout,
        pad_token_id=trained.pad_token_id,
        head=config.head,
        layout=fitted.layout,
        seed=config.seed,
    )
    baselines = baseline_accuracies(data.train, data.heldout, seed=config.seed)
    calibration = calibrate_trained(
        data.heldout,
        rewards,
        config,
        references=references,
        read=trained_reader(
            fitted.scoring_model,
            trained.encoder,
            pad_token_id=trained.pad_token_id,
            head=config.head,
            layout=fitted.layout,
            truncate=config.truncate,
        ),
    )
    inputs = ReportInputs(
        config=config,
        data=data.report,
        figures=figures,
        baselines=baselines,
        calibration=calibration,
        history=fitted.history,
        examples=data.heldout,
        rewards=rewards,
    )
    manifest, page = _published(trained, inputs, progress)
    seconds = time.monotonic() - started
    return TrainingResult(manifest, data.report, figures, baselines, calibration, seconds, page)


def _published(
    trained: TrainableModel, inputs: ReportInputs, progress: Progress
) -> tuple[RewardModelManifest, Path | None]:
    """Write the checkpoint, then the report about it."""
    config = inputs.config
    if config.report:
        progress.say("drawing the report")
    plots = draw_plots(inputs) if config.report else {}
    manifest = publish(
        trained,
        config,
        inputs.data,
        inputs.figures,
        inputs.baselines,
        inputs.calibration,
        card_pictures(plots),
    )
    if not config.report:
        return manifest, None
    directory = report_directory(run_directory(Path(config.output)))
    progress.say(f"writing the report in {directory}")
    return manifest, write_report(directory, inputs, manifest, plots)


def calibrate_trained(
    heldout: Sequence[EncodedExample],
    rewards: Sequence[Sequence[float]],
    config: TrainingConfig,
    *,
    references: Sequence[Candidate],
    read: Reader,
) -> CalibrationResult:
    """Calibrate a model that was just trained.

    References that turn out to be unreadable for the model don't cost the training: the held-out
    responses stand in for them, and the source says why.
    """
    observations = observations_of(heldout, rewards)
    given: ReferenceRewards | None = None
    if references:
        try:
            given = reference_rewards(references, config.reference, read)
        except DataError as error:
            stand_in = heldout_rewards(observations.rewards)
            given = ReferenceRewards(stand_in.rewards, f"{stand_in.source} ({error})")
    options = CalibrationOptions(
        role=config.role,
        method=config.calibration,
        target_precision=config.safety_target_precision,
        baseline_weight=config.baseline_weight,
        seed=config.seed,
    )
    return calibrate_rewards(observations, options, references=given)
