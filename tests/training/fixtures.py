"""A language model of a few thousand weights, made once, and preferences to train it on."""

import os
from pathlib import Path

import pytest
import torch

from rm_core.types import Dialogue
from tests.training.samples import preference_rows, write_jsonl
from training.modeling.reward_model import TrainableModel, reward_model_from
from training.modeling.small_lm import BaseModelConfig, make_base_model

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a one-layer Llama with its tokenizer."""
    directory = tmp_path_factory.mktemp("base")
    dialogues = [
        Dialogue(str(row["prompt"]), text)
        for row in preference_rows(16)
        for text in row["responses"]
    ]
    config = BaseModelConfig(
        vocabulary=400, hidden=32, layers=1, heads=2, max_length=128, epochs=1, block=32
    )
    make_base_model(dialogues, directory, config)
    return directory


@pytest.fixture
def start(tiny_base: Path) -> TrainableModel:
    """A reward model that has learned nothing yet."""
    return reward_model_from(str(tiny_base), max_length=128, seed=0)


@pytest.fixture
def preferences(tmp_path: Path) -> Path:
    """A file of 32 rows, 8 of them held out."""
    return write_jsonl(tmp_path / "preferences.jsonl", preference_rows(32))
