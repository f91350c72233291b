"""Training on HF `Trainer`: what is ours is the batch, its loss and its order."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler
from transformers import PrinterCallback, TrainerCallback, TrainingArguments
from transformers.integrations import TensorBoardCallback

from rm_core.errors import ConfigurationError
from training.batches.choose import choose_layout
from training.batches.collator import ExampleCollator
from training.batches.padded import BatchLayout
from training.batches.sampler import EpochsOrder, LengthGroupedOrder
from training.config import TrainingConfig
from training.data.examples import EncodedExample
from training.distributed import Processes, join_processes
from training.errors import TrainingDiverged
from training.losses import Rewards
from training.modeling.reward_model import TrainableModel, disable_dropout
from training.optimization.checkpointing import CheckpointingTrainer
from training.optimization.fsdp import WholeModel
from training.optimization.resume import checkpoint_to_resume, identity_of
from training.optimization.throughput import PaceClock
from training.optimization.update_loss import UpdateLoss
from training.optimization.updates import num_updates


class RewardTrainer(CheckpointingTrainer):
    """HF `Trainer` for examples; see `UpdateLoss` for what it minimises.

    Args:
        config: the recipe.
        layout: how responses go through the model; the collator's own.
        options: HF `Trainer`'s.

    Attributes:
        clock: what takes the run's time.
    """

    def __init__(self, *, config: TrainingConfig, layout: BatchLayout, **options: Any) -> None:
        super().__init__(**options)
        self._config = config
        self._layout = layout
        self._update_loss = UpdateLoss(config.weights)
        # Our loss is normalised over the whole update; Trainer must not divide it again.
        self.loss_is_scaled_for_ga = True
        self.add_callback(EpochsOrder)
        self.clock = PaceClock()
        self.add_callback(self.clock)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        dataset: Sequence[EncodedExample] = train_dataset or self.train_dataset
        processes = self.accelerator.num_processes
        lengths = [example.num_tokens for example in dataset]
        return LengthGroupedOrder(
            lengths[:-1] if processes > 1 else lengths,  # the last one is the filler
            batch_size=self._config.batch_size,
            seed=self._config.seed,
            processes=processes,
        )

    def _get_num_items_in_batch(
        self, batch_samples: Sequence[Mapping[str, Tensor]], device: torch.device
    ) -> Tensor:
        """What each objective's targets weigh in one update over all devices, (objectives,)."""
        totals = self._update_loss.totals(batch_samples).to(device)
        if self.accelerator.num_processes > 1:
            # Gradients are averaged over processes, so each one's share counts that much more.
            totals = self.accelerator.reduce(totals, "sum") / self.accelerator.num_processes
        return totals

    def compute_loss(
        self,
        model: Any,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """This forward pass's share of the update's loss.

        Args:
            model: as `layout` takes it.
            inputs: a batch of `ExampleCollator`.
            return_outputs: also give the rewards of the responses.
            num_items_in_batch: totals of the update, from `_get_num_items_in_batch`.

        Raises:
            TrainingDiverged: a reward is not finite.
        """
        totals = num_items_in_batch
        if totals is None:
            totals = self._get_num_items_in_batch([inputs], inputs["weight"].device)
        computed = inputs["input_ids"].numel() if "input_ids" in inputs else 0
        self.clock.count(inputs["num_tokens"], computed)
        rewards = Rewards.of(self._layout.rewards(model, inputs), inputs)
        if not torch.isfinite(rewards.at_reads).all():
            raise TrainingDiverged(
                f"a reward is not finite at update {self.state.global_step}; lower the learning "
                "rate, or train with --precision fp32"
            )
        loss = self._update_loss.of(inputs, rewards, totals)
        return (loss, {"rewards": rewards.of_responses}) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add accuracy, mean rewards and the objectives' own losses since the last line."""
        if "loss" in logs:
            sums = self._over_all_processes(self._update_loss.sums())
            logs.update(self._update_loss.figures(sums))
        super().log(logs, start_time)

    def _over_all_processes(self, sums: dict[str, float]) -> dict[str, float]:
        if self.accelerator.num_processes == 1:
            return sums
        mine = torch.tensor(list(sums.values()), device=self.args.device)
        total = self.accelerator.reduce(mine, "sum").tolist()
        return dict(zip(sums, total, strict=True))


def train(
    start: TrainableModel,
    examples: Sequence[EncodedExample],
    config: TrainingConfig,
    *,
    run_directory: Path,
    layout: BatchLayout | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    say: Callable[[str], None] = lambda _: None,
) -> TrainableModel:
    """Train the model.

    Args:
        start: model and tokenizer; the model's weights change.
        examples: the train side.
        config: the recipe.
        run_directory: resumable checkpoints and the TensorBoard log go here.
        layout: how batches go through the model; None: the way that suits it.
        callbacks: progress and the like.
        say: told how batches are laid out, and from which checkpoint a resumed run goes on.

    Returns:
        `start`, trained; a whole copy of its model where FSDP left only shards of it in place.

    Raises:
        TrainingDiverged: rewards stopped being finite.
        NotSaved: a resumable checkpoint could not be written.
        ConfigurationError: `resume` without a whole checkpoint of this very run.
    """
    processes = join_processes()
    if config.disable_dropout:
        disable_dropout(start.model)
    if layout is None:
        chosen = choose_layout(
            start.model,
            start.pad_token_id,
            packing=config.packing,
            max_pack_tokens=config.max_pack_tokens,
            bf16=uses_bf16(config),
        )
        say(f"batches are {chosen.layout.name}: {chosen.reason}")
        start, layout = replace(start, layout=chosen.to_json()), chosen.layout
    trainer = _trainer_of(start, examples, config, run_directory, layout, callbacks, processes)
    trainer.identity = identity = identity_of(
        config,
        examples,
        base=start.base["weights_sha256"],
        processes=processes.count,
        parallel=trainer.accelerator.distributed_type.value,
        bf16=uses_bf16(config),
    )
    checkpoint = (
        processes.from_first(lambda: str(checkpoint_to_resume(run_directory, identity, say=say)))
        if config.resume
        else None
    )
    whole = WholeModel(trainer)
    with layout.attached(start.model):
        trainer.train(resume_from_checkpoint=checkpoint)
    if processes.is_first:
        _note_throughput(trainer, run_directory, say)
    trainer.model.eval()
    return whole.after(start)


def _note_throughput(
    trainer: RewardTrainer, run_directory: Path, say: Callable[[str], None]
) -> None:
    pace = trainer.clock.pace()
    say(pace.to_text())
    with suppress(OSError):  # nothing but a note; a full disk shows where the model is written
        pace.write(run_directory)


def _trainer_of(
    start: TrainableModel,
    examples: Sequence[EncodedExample],
    config: TrainingConfig,
    run_directory: Path,
    layout: BatchLayout,
    callbacks: Sequence[TrainerCallback],
    processes: Processes,
) -> RewardTrainer:
    """A trainer with our layout, loss and collator."""
    fillers = []
    if processes.count > 1:
        fillers = [min(examples, key=lambda each: each.num_tokens).without_labels()]
    trainer = RewardTrainer(
        config=config,
        layout=layout,
        model=start.model,
        args=training_arguments(
            config, run_directory, num_examples=len(examples), processes=processes.count
        ),
        train_dataset=[*examples, *fillers],
        data_collator=ExampleCollator(layout, config.weights, config.pair_weighting, config.head),
        processing_class=start.tokenizer,
        callbacks=[*callbacks, *_tensorboard(run_directory, processes)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def training_arguments(
    config: TrainingConfig, run_directory: Path, *, num_examples: int, processes: int = 1
) -> TrainingArguments:
    """The recipe in `Trainer`'s words.

    Args:
        config: the recipe.
        run_directory: where the run's state goes.
        num_examples: examples in one epoch; the warm-up is counted from it.
        processes: how many train together; each takes `batch_size` prompts at a time.
    """
    steps = num_updates(config, num_examples, processes)
    return TrainingArguments(
        output_dir=str(run_directory),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": config.min_learning_rate_ratio},
        warmup_steps=warmup_steps(config, steps),
        optim="adamw_torch_fused",
        weight_decay=config.weight_decay,
        adam_beta1=config.adam_beta1,
        adam_beta2=config.adam_beta2,
        adam_epsilon=config.adam_epsilon,
        max_grad_norm=config.max_grad_norm,
        bf16=uses_bf16(config),
        use_cpu=not torch.cuda.is_available(),
        activation_checkpointing=config.gradient_checkpointing,
        seed=config.seed,
        save_strategy="steps" if config.save_steps else "no",
        save_steps=config.save_steps or 500,
        # Which checkpoints stay is CheckpointingTrainer's to say.
        save_total_limit=None,
        logging_steps=config.logging_steps,
        # A silent replacement of NaN by an average would hide divergence.
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def warmup_steps(config: TrainingConfig, steps: int) -> int:
    """Updates in which the rate climbs: 3 %, at least five, at most a tenth of a short run."""
    wanted = max(config.min_warmup_steps, math.ceil(config.warmup_ratio * steps))
    return min(wanted, max(1, steps // 10))


def uses_bf16(config: TrainingConfig) -> bool:
    """Whether the forward pass runs in bfloat16 autocast; weights and optimiser stay float32.

    Raises:
        ConfigurationError: bf16 was asked for and the machine can't.
    """
    able = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    if config.precision == "bf16" and not able:
        raise ConfigurationError("bf16 needs a CUDA device that has it; use --precision fp32")
    return able and config.precision != "fp32"


def _tensorboard(run_directory: Path, processes: Processes) -> Sequence[TrainerCallback]:
    """The callback that writes the log, on the one process that does."""
    if not processes.is_first:
        return ()
    from torch.utils.tensorboard import SummaryWriter

    return (TensorBoardCallback(SummaryWriter(log_dir=str(run_directory / "tensorboard"))),)
