"""Trains one reward model with TRL, in an environment that has it, and tells how that went.

Run by its path with another Python: it imports nothing of ours. Argument: a JSON file with the job
(`loadtest.bench.training.trainers`); what came of it is written where the job says.
"""

import hashlib
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback


class Clock(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """The times of the loop and of its updates, taken as `rewardd train` takes its own."""

    def __init__(self) -> None:
        self.began = self.ended = self.last = 0.0
        self.updates: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The loop starts."""
        self.began = self.last = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """An update is done."""
        now = time.perf_counter()
        self.updates.append(now - self.last)
        self.last = now

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """The loop is over."""
        self.ended = time.perf_counter()


class CountingTrainer(trl.RewardTrainer):  # type: ignore[misc]  # trl is untyped here
    """TRL's trainer; counts the tokens of its batches with their padding."""

    computed_tokens = 0

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **options: Any) -> Any:
        """TRL's own loss."""
        self.computed_tokens += inputs["input_ids"].numel()
        return super().compute_loss(model, inputs, *args, **options)


def arguments(job: dict[str, Any]) -> Any:
    """The recipe in TRL's words; what it would do by default and ours does not is switched off."""
    recipe = dict(job["recipe"])
    min_lr_rate = recipe.pop("min_learning_rate_ratio")
    return trl.RewardConfig(
        **recipe,
        output_dir=job["output"],
        num_train_epochs=1,
        per_device_train_batch_size=job["batch"],
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": min_lr_rate},
        warmup_steps=job["warmup"],
        optim="adamw_torch_fused",
        max_length=job["max_length"],
        seed=job["seed"],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        train_sampling_strategy="group_by_length" if job["grouped"] else "random",
        remove_unused_columns=not job["grouped"],  # else the lengths would be gone
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Train, save, and tell."""
    torch.set_num_threads(job["threads"])
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    model = AutoModelForSequenceClassification.from_pretrained(
        job["model"], num_labels=1, dtype=torch.float32
    )
    clock = Clock()
    with Path(job["data"]).open(encoding="utf-8") as lines:
        pairs = Dataset.from_list([json.loads(line) for line in lines])
    trainer = CountingTrainer(
        model=model,
        args=arguments(job),
        train_dataset=pairs,
        processing_class=tokenizer,
        callbacks=[clock],
    )
    rows = trainer.train_dataset
    texts = [*rows["chosen_ids"], *rows["rejected_ids"]]
    if job["grouped"]:
        sides = zip(rows["chosen_ids"], rows["rejected_ids"], strict=True)
        lengths = [max(map(len, pair)) for pair in sides]
        ids = rows.select_columns(["chosen_ids", "rejected_ids"])
        trainer.train_dataset = ids.add_column("length", lengths)
    trainer.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    trainer.save_model(job["output"])
    return {
        "seconds": clock.ended - clock.began,
        "update_seconds": clock.updates,
        "sequence_tokens": sum(map(len, texts)),
        "computed_tokens": trainer.computed_tokens,
        "peak_bytes": peak,
        "pairs": len(rows),
        "texts": sorted({hashlib.sha256(repr(list(ids)).encode()).hexdigest() for ids in texts}),
        "versions": {module.__name__: module.__version__ for module in (trl, transformers, torch)},
    }


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    found = run(asked)
    Path(asked["result"]).write_text(json.dumps(found), encoding="utf-8")
