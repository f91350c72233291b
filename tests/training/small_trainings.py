"""What small trainings start from: a model, examples, and settings for a handful of updates."""

from pathlib import Path
from typing import Any

from rm_core.text.encoder import TextEncoder
from tests.training.samples import preference_rows, write_jsonl
from training.config import TrainingConfig, load_config
from training.data.examples import EncodedExample
from training.data.formats import read_records
from training.data.prepare import DataOptions, prepare_data
from training.modeling.reward_model import TrainableModel, reward_model_from


def recipe(**changes: Any) -> TrainingConfig:
    """Settings of a training with an update for every four examples."""
    settings = {
        "role": "safety",
        "data": ["-"],
        "base": "-",
        "output": "-",
        "batch_size": 4,
        "gradient_accumulation": 1,
        "learning_rate": 1e-3,
        "logging_steps": 1,
    }
    return load_config(None, settings | changes)


def fresh(base: Path, seed: int = 0) -> TrainableModel:
    """A reward model on that base that has learned nothing yet."""
    return reward_model_from(str(base), max_length=128, seed=seed)


def train_examples(encoder: TextEncoder, directory: Path, count: int) -> tuple[EncodedExample, ...]:
    """The training side of so many made-up rows: three quarters of them."""
    file = write_jsonl(directory / "rows.jsonl", preference_rows(count))
    return prepare_data(read_records([file]), encoder, DataOptions(role="safety")).train
