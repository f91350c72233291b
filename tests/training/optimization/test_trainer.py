import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from rm_core.errors import ConfigurationError
from tests.training.by_hand import loss_by_hand, unevenly_known
from tests.training.small_trainings import fresh, recipe, train_examples
from training.batches.collator import ExampleCollator
from training.batches.padded import PaddedLayout
from training.data.examples import EncodedExample
from training.errors import TrainingDiverged
from training.evaluation import score_examples
from training.evaluation.pairs import pair_figures
from training.modeling.reward_model import TrainableModel
from training.optimization.trainer import RewardTrainer, train, training_arguments, warmup_steps


@pytest.fixture(scope="module")
def examples(
    tiny_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[EncodedExample, ...]:
    return train_examples(fresh(tiny_base).encoder, tmp_path_factory.mktemp("data"), 32)


SAVING = {"epochs": 2.0, "save_steps": 2}  # six updates an epoch


@pytest.fixture(scope="module")
def uninterrupted(
    tiny_base: Path, examples: tuple[EncodedExample, ...], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, torch.Tensor], Path]:
    """The weights of a whole training that saves, and its run directory."""
    directory = tmp_path_factory.mktemp("whole")
    model = fresh(tiny_base)
    train(model, examples, recipe(**SAVING), run_directory=directory)
    return weights(model.model), directory


def test_eight_pairs_are_learned_by_heart(
    start: TrainableModel, examples: tuple[EncodedExample, ...], tmp_path: Path
) -> None:
    eight = examples[:8]
    config = recipe(epochs=15.0, learning_rate=5e-3, margins="none")
    train(start, eight, config, run_directory=tmp_path)
    rewards = score_examples(start.model, eight, pad_token_id=start.pad_token_id)
    assert pair_figures(eight, rewards).accuracy.value == 1.0


def first_gradient(trainer: RewardTrainer) -> torch.Tensor:
    """Gradient of the head at the first update, before the optimiser uses it."""
    seen: list[torch.Tensor] = []

    class Spy(TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, *_: Any, **known: Any) -> None:
            seen.append(known["model"].score.weight.grad.clone())

    trainer.add_callback(Spy())
    trainer.train()
    return seen[0]


SETS: dict[str, dict[str, Any]] = {
    "plain": {},
    "safety": {"safety_auxiliary_weight": 0.5},
    "lists": {"objectives": {"kwise": 1.0, "listnet": 0.5, "plackett_luce": 0.2}},
    "ratings": {"objectives": {"regression": 1.0, "centering": 0.3, "l2": 0.1}, "head": "mean"},
    "hinge": {"objective": ["hinge=2"], "head": "mean", "pair_weighting": "pair"},
}


@pytest.mark.parametrize("chosen", SETS.values(), ids=SETS.keys())
@pytest.mark.parametrize(("batch_size", "accumulation"), [(6, 1), (4, 2), (1, 6)])
def test_the_gradient_of_an_update_is_that_of_weighted_means_over_all_of_it(
    tiny_base: Path,
    examples: tuple[EncodedExample, ...],
    tmp_path: Path,
    batch_size: int,
    accumulation: int,
    chosen: dict[str, Any],
) -> None:
    # Forward passes of unequal size, (4, 2) among them; what is known is spread unevenly.
    six = unevenly_known(examples[:7])
    config = recipe(
        batch_size=batch_size, gradient_accumulation=accumulation, max_grad_norm=1e9, **chosen
    )
    start = fresh(tiny_base)
    layout = PaddedLayout(start.pad_token_id)
    trainer = RewardTrainer(
        config=config,
        layout=layout,
        model=start.model,
        args=training_arguments(config, tmp_path, num_examples=6),
        train_dataset=six,
        data_collator=ExampleCollator(layout, config.weights, config.pair_weighting, config.head),
    )
    found = first_gradient(trainer)
    model = fresh(tiny_base).model
    loss_by_hand(model, six, config).backward()
    assert torch.allclose(found, model.score.weight.grad, atol=1e-6)


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("stop_at", [2, 8])
def test_a_run_resumed_mid_epoch_equals_the_uninterrupted_one_bit_for_bit(
    tiny_base: Path,
    examples: tuple[EncodedExample, ...],
    uninterrupted: tuple[dict[str, torch.Tensor], Path],
    tmp_path: Path,
    stop_at: int,
) -> None:
    config, stopped = recipe(**SAVING), tmp_path / "stopped"

    class Stop(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = state.global_step == stop_at

    train(fresh(tiny_base), examples, config, run_directory=stopped, callbacks=[Stop()])
    assert (stopped / f"checkpoint-{stop_at}").is_dir()
    resumed = fresh(tiny_base, seed=123)
    torch.manual_seed(999)
    train(resumed, examples, replace(config, resume=True), run_directory=stopped)
    expected, found = uninterrupted[0], weights(resumed.model)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_resuming_from_nothing_is_refused(
    start: TrainableModel, examples: tuple[EncodedExample, ...], tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="--save-steps"):
        train(start, examples, recipe(resume=True), run_directory=tmp_path / "none")


def test_a_diverged_run_stops_with_advice(
    start: TrainableModel, examples: tuple[EncodedExample, ...], tmp_path: Path
) -> None:
    with torch.no_grad():
        start.model.score.weight.fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match="learning rate"):
        train(start, examples, recipe(), run_directory=tmp_path)


def test_the_rate_climbs_three_percent_but_at_least_five_updates() -> None:
    config = recipe()
    assert [warmup_steps(config, steps) for steps in (1, 30, 100, 1000)] == [1, 3, 5, 30]


def test_the_rate_ends_at_a_tenth_of_the_highest(
    tiny_base: Path, examples: tuple[EncodedExample, ...], tmp_path: Path
) -> None:
    rates: list[float] = []

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **known: Any) -> None:
            rates.append(known["lr_scheduler"].get_last_lr()[0])

    config = recipe(epochs=5.0)
    train(fresh(tiny_base), examples, config, run_directory=tmp_path, callbacks=[Watch()])
    assert max(rates) == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-4)
    assert list(tmp_path.glob("tensorboard/events*"))
    shutil.rmtree(tmp_path)


def test_every_weight_moves(
    tiny_base: Path, uninterrupted: tuple[dict[str, torch.Tensor], Path]
) -> None:
    before, after = weights(fresh(tiny_base).model), uninterrupted[0]
    assert [name for name in before if torch.equal(before[name], after[name])] == []


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_on_a_gpu_the_forward_runs_in_bf16_and_the_weights_stay_float32(
    tiny_base: Path, examples: tuple[EncodedExample, ...], tmp_path: Path
) -> None:
    config = recipe(epochs=15.0, learning_rate=5e-3)
    assert training_arguments(config, tmp_path, num_examples=8).bf16
    start = fresh(tiny_base)
    train(start, examples[:8], config, run_directory=tmp_path)
    assert {tensor.dtype for tensor in start.model.state_dict().values()} == {torch.float32}
    rewards = score_examples(start.model, examples[:8], pad_token_id=start.pad_token_id)
    assert pair_figures(examples[:8], rewards).accuracy.value == 1.0
