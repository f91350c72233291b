"""Bradley-Terry training on HF `Trainer`: what is ours is the batch, its loss and its order."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.integrations import TensorBoardCallback
from transformers.trainer_utils import get_last_checkpoint

from rm_core.errors import ConfigurationError
from training.collator import ComparisonCollator
from training.comparisons import Comparison
from training.config import TrainingConfig
from training.errors import TrainingDiverged
from training.losses import OBJECTIVES, safety_auxiliary_loss
from training.models import UntrainedRewardModel, disable_dropout
from training.sampling import LengthGroupedOrder


class RewardTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped here
    """HF `Trainer` for comparisons.

    The loss of an update is Σ wᵢ·ℓᵢ / Σ wᵢ over every pair of the update, however the pairs fall
    into forward passes and devices: a mean of means would weigh pairs in small batches more.
    """

    def __init__(self, *, config: TrainingConfig, **options: Any) -> None:
        super().__init__(**options)
        self._config = config
        self._terms = OBJECTIVES[config.objective]
        # Our loss is normalised over the whole update; Trainer must not divide it again.
        self.loss_is_scaled_for_ga = True
        self._sums: dict[str, float] = {}

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        dataset: Sequence[Comparison] = train_dataset or self.train_dataset
        return LengthGroupedOrder(
            [comparison.num_tokens for comparison in dataset],
            batch_size=self._config.batch_size,
            seed=self._config.seed,
        )

    def _get_num_items_in_batch(
        self, batch_samples: Sequence[Mapping[str, Tensor]], device: torch.device
    ) -> Tensor:
        """Pair weight and number of safety labels of one update over all devices, (2,)."""
        weight = sum(float(batch["weight"].sum()) for batch in batch_samples)
        labelled = sum(len(batch["labelled"]) for batch in batch_samples)
        totals = torch.tensor([weight, labelled], dtype=torch.float32, device=device)
        if self.accelerator.num_processes > 1:
            # Gradients are averaged over processes, so each one's share counts that much more.
            totals = self.accelerator.reduce(totals, "sum") / self.accelerator.num_processes
        return totals

    def compute_loss(
        self,
        model: Any,
        inputs: Mapping[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """This forward pass's share of the update's loss.

        Args:
            model: scores (responses,).
            inputs: a batch of `ComparisonCollator`.
            return_outputs: also give the rewards.
            num_items_in_batch: totals of the update, from `_get_num_items_in_batch`.
        """
        totals = num_items_in_batch
        if totals is None:
            totals = self._get_num_items_in_batch([inputs], inputs["weight"].device)
        rewards = rewards_of(model, inputs)
        chosen, rejected = rewards[inputs["chosen"]], rewards[inputs["rejected"]]
        terms = self._terms(chosen, rejected, inputs["margin"])
        loss = (inputs["weight"] * terms).sum() / totals[0]
        coefficient = self._config.safety_auxiliary_weight
        if coefficient and len(inputs["labelled"]):
            auxiliary = safety_auxiliary_loss(rewards[inputs["labelled"]], inputs["is_safe"])
            loss = loss + coefficient * auxiliary * (len(inputs["labelled"]) / totals[1])
        self._note(chosen.detach(), rejected.detach())
        return (loss, {"rewards": rewards}) if return_outputs else loss

    def _note(self, chosen: Tensor, rejected: Tensor) -> None:
        """Add to the sums that the next log line reports; refuse what is no number."""
        gap = (chosen - rejected).float()
        if not torch.isfinite(gap).all():
            raise TrainingDiverged(
                f"a reward is not finite at update {self.state.global_step}; lower the learning "
                "rate, or train with --precision fp32"
            )
        correct = (gap > 0).sum() + 0.5 * (gap == 0).sum()
        for name, value in (
            ("pairs", float(len(gap))),
            ("accuracy", float(correct)),
            ("chosen", float(chosen.sum())),
            ("rejected", float(rejected.sum())),
            ("margin", float(gap.sum())),
        ):
            self._sums[name] = self._sums.get(name, 0.0) + value

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add training accuracy and mean rewards, per pair since the last line, to the log."""
        if "loss" in logs and self._sums.get("pairs"):
            pairs = self._sums.pop("pairs")
            logs.update({name: total / pairs for name, total in self._sums.items()})
            self._sums.clear()
        super().log(logs, start_time)


def rewards_of(model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """Rewards of a padded batch by transformers' own forward, (responses,), float32."""
    output = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    return output.logits.squeeze(-1).float()  # type: ignore[no-any-return]  # (responses, 1)


def train(
    start: UntrainedRewardModel,
    comparisons: Sequence[Comparison],
    config: TrainingConfig,
    *,
    run_directory: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> None:
    """Train the model in place.

    Args:
        start: model and tokenizer; the model's weights change.
        comparisons: the train side.
        config: the recipe.
        run_directory: resumable checkpoints and the TensorBoard log go here.
        callbacks: progress and the like.

    Raises:
        TrainingDiverged: rewards stopped being finite.
        ConfigurationError: `resume` without a checkpoint to go on from.
    """
    if config.disable_dropout:
        disable_dropout(start.model)
    trainer = RewardTrainer(
        config=config,
        model=start.model,
        args=training_arguments(config, run_directory, num_examples=len(comparisons)),
        train_dataset=list(comparisons),
        data_collator=ComparisonCollator(start.pad_token_id, config.pair_weighting),
        processing_class=start.tokenizer,
        callbacks=[*callbacks, TensorBoardCallback(_summary_writer(run_directory))],
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = None
    if config.resume:
        checkpoint = get_last_checkpoint(str(run_directory)) if run_directory.is_dir() else None
        if checkpoint is None:
            raise ConfigurationError(
                f"nothing to resume in {run_directory}; leave --resume out, or train with "
                "--save-steps so that there is something next time"
            )
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.model.eval()


def training_arguments(
    config: TrainingConfig, run_directory: Path, *, num_examples: int
) -> TrainingArguments:
    """The recipe in `Trainer`'s words.

    Args:
        config: the recipe.
        run_directory: where the run's state goes.
        num_examples: comparisons in one epoch; the warm-up is counted from it.
    """
    batches = math.ceil(num_examples / config.batch_size)
    steps = max(1, math.ceil(math.ceil(batches / config.gradient_accumulation) * config.epochs))
    return TrainingArguments(
        output_dir=str(run_directory),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": config.min_learning_rate_ratio},
        warmup_steps=warmup_steps(config, steps),
        optim="adamw_torch",
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
        save_total_limit=2,
        logging_steps=config.logging_steps,
        # A silent replacement of NaN by an average would hide divergence.
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def warmup_steps(config: TrainingConfig, steps: int) -> int:
    """Updates in which the rate climbs: 3 % of all, at least five, at most a tenth of a short run.

    Args:
        config: the recipe.
        steps: updates of the whole run.
    """
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


def _summary_writer(run_directory: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(log_dir=str(run_directory / "tensorboard"))
