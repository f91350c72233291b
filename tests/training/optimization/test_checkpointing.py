"""A resumable checkpoint is whole or not there, and a full disk takes none that was whole."""

from pathlib import Path
from typing import Any

import pytest

from rm_core.errors import NotSaved
from tests.training.full_disk import disk_full_after, no_file_larger_than
from tests.training.small_trainings import fresh, recipe, train_examples
from training.data.examples import EncodedExample
from training.modeling.reward_model import TrainableModel
from training.optimization.resume import MARKER_NAME, checkpoint_to_resume, identity_of
from training.optimization.trainer import train


@pytest.fixture
def examples(start: TrainableModel, tmp_path: Path) -> tuple[EncodedExample, ...]:
    return train_examples(start.encoder, tmp_path, 32)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def checkpoints(directory: Path) -> list[str]:
    notes = {"tensorboard", "pace.json"}
    return sorted(path.name for path in directory.iterdir() if path.name not in notes)


def resumable(directory: Path, start: TrainableModel, examples: Any, config: Any) -> str:
    identity = identity_of(
        config,
        examples,
        base=start.base["weights_sha256"],
        processes=1,
        parallel="NO",
        bf16=False,
    )
    return checkpoint_to_resume(directory, identity, say=lambda _: None).name


def test_the_two_newest_stay_each_with_its_marker_and_without_pickled_arguments(
    start: TrainableModel, examples: tuple[EncodedExample, ...], run: Path
) -> None:
    train(start, examples[:16], recipe(save_steps=1), run_directory=run)

    assert checkpoints(run) == ["checkpoint-3", "checkpoint-4"]
    names = {path.name for path in (run / "checkpoint-4").iterdir()}
    assert {MARKER_NAME, "model.safetensors", "optimizer.pt", "scheduler.pt"} <= names
    assert names.isdisjoint({"training_args.bin", "pytorch_model.bin"})


@pytest.mark.parametrize("changes", range(0, 12, 2))
def test_a_disk_that_fills_up_at_any_write_of_a_save_leaves_the_one_before(
    tiny_base: Path,
    start: TrainableModel,
    examples: tuple[EncodedExample, ...],
    run: Path,
    changes: int,
) -> None:
    config = recipe(save_steps=1)
    train(start, examples[:4], config, run_directory=run)  # one update: checkpoint-1
    other = fresh(tiny_base)

    with (
        disk_full_after(changes, below=run / ".saving") as disk,
        pytest.raises(NotSaved, match=r"checkpoint-1 .*No space left.*--resume"),
    ):
        train(other, examples[:8], config, run_directory=run)

    assert disk.refused
    assert checkpoints(run) == ["checkpoint-1"]
    assert resumable(run, start, examples[:4], config) == "checkpoint-1"


# TensorBoard's own thread meets the same limit.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("size", [500, 5000, 100_000])
def test_a_save_that_stops_in_the_middle_of_a_file_leaves_no_checkpoint(
    start: TrainableModel, examples: tuple[EncodedExample, ...], run: Path, size: int
) -> None:
    """The sizes cut the configuration, the tokenizer or the optimiser's state in two."""
    config = recipe(save_steps=1, logging_steps=5)  # no log line is due before the save
    with pytest.raises(NotSaved, match="make room"), no_file_larger_than(size):
        train(start, examples[:4], config, run_directory=run)

    assert checkpoints(run) == []
