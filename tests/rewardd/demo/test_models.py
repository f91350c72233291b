import json
from pathlib import Path

import pytest

from rewardd.demo import models as demo_models
from rewardd.demo.models import SAMPLE, DemoRecipe, demo_config, stands, train_sample_models
from rm_core.types import ROLES
from tests.training.samples import preference_rows, write_jsonl
from training.data.formats import read_records
from training.modeling.small_lm import BaseModelConfig

SMALL = DemoRecipe(
    base=BaseModelConfig(
        vocabulary=400, hidden=32, layers=1, heads=2, max_length=128, epochs=1, block=32
    ),
    epochs=1,
)


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    directory = tmp_path / "sample"
    directory.mkdir()
    for role in ("safety", "helpfulness"):
        write_jsonl(directory / f"{role}.jsonl", preference_rows(16))
    return directory


def test_both_models_are_made_once_and_again_only_where_one_is_spoiled(
    tmp_path: Path, sample: Path
) -> None:
    output = tmp_path / "models"
    first = train_sample_models(output, recipe=SMALL, sample=sample)
    assert all(first.values())
    assert stands(output / "safety", "safety")
    assert not stands(output / "safety", "helpfulness")
    second = train_sample_models(output, recipe=SMALL, sample=sample)
    assert second == {"safety": None, "helpfulness": None}
    weights = output / "safety" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    assert not stands(output / "safety", "safety")
    third = train_sample_models(output, recipe=SMALL, sample=sample)
    assert third["safety"] is not None
    assert third["helpfulness"] is None
    assert stands(output / "safety", "safety")


def test_no_held_out_word_reaches_the_vocabulary(
    tmp_path: Path, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_models, "train_reward_model", lambda *_, **__: None)
    rows = [json.loads(line) for line in (sample / "safety.jsonl").read_text().splitlines()]
    for row in rows:
        if row["split"] == "heldout":
            row["responses"] = [text + " zyzyzyzy" for text in row["responses"]]
    write_jsonl(sample / "safety.jsonl", rows)
    train_sample_models(tmp_path / "models", recipe=SMALL, sample=sample)
    vocabulary = (tmp_path / "models" / "base" / "tokenizer.json").read_text()
    assert "zy" not in vocabulary


@pytest.mark.parametrize("role", ["safety", "helpfulness"])
def test_the_bundled_sample_is_readable_and_names_its_split(role: str) -> None:
    read = read_records([SAMPLE / f"{role}.jsonl"])
    assert len(read.records) >= 300
    assert not read.unusable
    assert {record.split for record in read.records} == {"train", "heldout"}


def test_only_the_safety_model_gets_the_auxiliary_loss(tmp_path: Path) -> None:
    weights = {
        role: demo_config(role, tmp_path, DemoRecipe(), sample=SAMPLE).safety_auxiliary_weight
        for role in ROLES
    }
    assert weights == {"safety": 1.0, "helpfulness": 0.0}
