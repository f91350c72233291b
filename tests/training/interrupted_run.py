"""A training that holds still at a chosen point until it is killed; test_resume.py runs it.

python -m tests.training.interrupted_run CONFIG POINT STEP: CONFIG is a TrainingConfig as JSON.
POINT is "saving", the middle of saving checkpoint-STEP, or "accumulating", between two forward
passes of the update after STEP. It writes "holding" there and waits.
"""

import json
import signal
import sys
from typing import Any

import torch
from transformers import TrainerCallback

from training.config import load_config
from training.optimization.checkpointing import CheckpointingTrainer
from training.pipeline import train_reward_model
from training.progress import SilentProgress


def hold() -> None:
    sys.stdout.write("holding\n")
    sys.stdout.flush()
    signal.pause()


class HoldWhileAccumulating(TrainerCallback):  # type: ignore[misc]
    def __init__(self, step: int) -> None:
        self._step = step

    def on_substep_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        if state.global_step == self._step:
            hold()


class Holding(SilentProgress):
    def __init__(self, step: int) -> None:
        self._step = step

    def callbacks(self, title: str) -> Any:
        return (HoldWhileAccumulating(self._step),)


def hold_while_saving(step: int) -> None:
    original = CheckpointingTrainer._save_rng_state

    def save_rng_state(self: Any, output_dir: str) -> None:
        if self.state.global_step == step:
            hold()
        original(self, output_dir)

    CheckpointingTrainer._save_rng_state = save_rng_state


def main() -> None:
    point, step = sys.argv[2], int(sys.argv[3])
    config = load_config(None, json.loads(sys.argv[1]))
    torch.set_num_threads(1)
    if point == "saving":
        hold_while_saving(step)
        train_reward_model(config)
    else:
        train_reward_model(config, progress=Holding(step))


if __name__ == "__main__":
    main()
