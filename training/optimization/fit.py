"""From a model that has learned nothing to the one that is published: what is trained, and how.

All of it goes through the same trainer. Where the head is trained alone, the trunk runs once before
it, and the held-out split is measured on states too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rm_core.checkpoint.heads import head_of
from training.batches.cached_states import (
    CachedLayout,
    CachedStates,
    HeadAlone,
    compute_states,
    open_states,
    read_in,
)
from training.batches.padded import BatchLayout
from training.config import TrainingConfig
from training.data.examples import EncodedExample
from training.data.prepare import PreparedData
from training.distributed import join_processes
from training.losses import targets_of
from training.modeling.reward_model import TrainableModel, reward_model_from
from training.modeling.trainable import export, prepare_for_training
from training.optimization.history import HistoryNote, LogRow
from training.optimization.trainer import train, uses_bf16
from training.progress import Progress


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model after training.

    Attributes:
        trained: as it is published.
        scoring_model: what gives the held-out rewards: the model, or its head on cached states.
        layout: how the held-out split goes through `scoring_model`; None: the usual way.
        history: the trainer's log.
    """

    trained: TrainableModel
    scoring_model: Any
    layout: BatchLayout | None = None
    history: tuple[LogRow, ...] = ()


def fit(
    start: TrainableModel,
    data: PreparedData,
    config: TrainingConfig,
    *,
    run_directory: Path,
    progress: Progress,
) -> Fitted:
    """Train what the configuration says.

    Args:
        start: the model; called on every process.
        data: both sides of the split.
        config: the recipe.
        run_directory: of the run's state and of cached hidden states.
        progress: told of each stage and update.

    Raises:
        RewardError: the base can't be trained so, or training diverged.
    """
    prepared = prepare_for_training(start, config)
    if config.trainable == "head":
        return _fit_head(prepared, data, config, run_directory, progress)
    history = HistoryNote()
    trained = _train(prepared, data.train, config, run_directory, progress, history)
    published = export(
        trained,
        config,
        lambda: reward_model_from(
            config.base,
            max_length=config.max_length,
            seed=config.seed,
            template_date=config.template_date,
        ),
    )
    return Fitted(published, published.model, history=history.rows)


def _fit_head(
    start: TrainableModel,
    data: PreparedData,
    config: TrainingConfig,
    run_directory: Path,
    progress: Progress,
) -> Fitted:
    states = _states(start, data, config, run_directory, progress)
    layout = CachedLayout(states)
    alone = replace(start, model=HeadAlone(head_of(start.model)))
    history = HistoryNote()
    scoring_model = _train(
        alone, data.train, config, run_directory, progress, history, layout
    ).model
    # The same head, unless a wrapper has trained a copy of it.
    head_of(start.model).load_state_dict(scoring_model.head.state_dict())
    start.model.requires_grad_(False).eval()
    return Fitted(start, scoring_model, layout, history.rows)


def _states(
    start: TrainableModel,
    data: PreparedData,
    config: TrainingConfig,
    run_directory: Path,
    progress: Progress,
) -> CachedStates:
    """Computed by process 0 and read by all."""
    texts = [
        *read_in(data.train, config.head, targets_of(config.weights)),
        *read_in(data.heldout, config.head, frozenset({"steps"})),
    ]

    def computed() -> Path:
        distinct = len({encoded.input_ids for encoded, _ in texts})
        with progress.track("hidden states, once", distinct) as advance:
            return compute_states(
                start,
                texts,
                run_directory,
                role=config.role,
                bf16=uses_bf16(config),
                advance=advance,
            )

    return open_states(join_processes().from_first(computed), texts)


def _train(
    start: TrainableModel,
    examples: Sequence[EncodedExample],
    config: TrainingConfig,
    run_directory: Path,
    progress: Progress,
    history: HistoryNote,
    layout: BatchLayout | None = None,
) -> TrainableModel:
    return train(
        start,
        examples,
        config,
        run_directory=run_directory,
        layout=layout,
        callbacks=[*progress.callbacks(f"{config.role} RM"), history],
        say=progress.say,
    )
