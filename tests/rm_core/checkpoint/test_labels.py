"""Checkpoints with several labels: each is the reward that transformers' own logits hold there."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from rm_core.checkpoint.load import load_reward_model
from rm_core.checkpoint.manifest import LabelManifest, RewardModelManifest, write_manifest
from rm_core.checkpoint.source import ModelSource
from rm_core.engine import load_engine
from rm_core.errors import CheckpointError, WrongNumLabels
from rm_core.text.contract import default_contract
from rm_core.types import Dialogue
from tests.models import make_tokenizer, save_checkpoint
from tests.rewards import own_rewards

NAMES = ("helpfulness", "verbosity", "2")
DIALOGUES = [Dialogue("a shared prompt ", "answer " * n) for n in range(1, 4)]


def save(directory: Path, architecture: str = "llama", **overrides: Any) -> str:
    """A checkpoint with three labels of those names."""
    labels = dict(enumerate(NAMES))
    save_checkpoint(directory, architecture, **{"id2label": labels, "num_labels": 3} | overrides)
    return str(directory)


def logits(checkpoint: str, ids: tuple[int, ...]) -> list[float]:
    model: Any = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    with torch.inference_mode():
        found: list[float] = model(input_ids=torch.tensor([ids])).logits[0].tolist()
    return found


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "bert"])
def test_each_label_is_its_own_reward_by_one_forward(architecture: str, tmp_path: Path) -> None:
    checkpoint = save(tmp_path, architecture)
    engine = load_engine({name: f"{checkpoint}#{name}" for name in reversed(NAMES)})
    items = [engine.encode(dialogue) for dialogue in DIALOGUES]

    found = own_rewards(engine, items)

    for item, rewards in zip(items, found, strict=True):
        own = logits(checkpoint, item.by_model["2"].input_ids)
        assert [rewards[name] for name in NAMES] == pytest.approx(own, abs=1e-5)
        assert len({round(value, 3) for value in own}) == 3, "labels too alike to show a mistake"
    assert [len(about["shares_trunk_with"]) for about in engine.describe().values()] == [2, 2, 2]
    assert len({profile.digest for profile in engine.profiles.values()}) == 3
    assert engine.profiles["verbosity"].name == f"{checkpoint}#verbosity"


def test_a_name_goes_before_a_number(tmp_path: Path) -> None:
    checkpoint = save(tmp_path, id2label={0: "2", 1: "a", 2: "b"})
    engine = load_engine({"first": f"{checkpoint}#2", "last": f"{checkpoint}#b"})
    (rewards,) = own_rewards(engine, [item := engine.encode(DIALOGUES[0])])

    own = logits(checkpoint, item.by_model["first"].input_ids)
    assert [rewards["first"], rewards["last"]] == pytest.approx([own[0], own[2]], abs=1e-5)


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("", r"has 3 labels, and a reward is one of them: say which, as \S+#2; it has helpful"),
        ("#honesty", "has no label honesty; it has helpfulness, verbosity, 2; or their numbers"),
        ("#3", "from 0 to 2"),
    ],
)
def test_no_label_is_ever_guessed(label: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(WrongNumLabels, match=told):
        load_reward_model(f"{save(tmp_path)}{label}", "safety")


def test_labels_without_names_are_numbered_and_equal_names_refused(tmp_path: Path) -> None:
    checkpoint = save(tmp_path, id2label={0: "a", 1: "a", 2: "b"})
    with pytest.raises(CheckpointError, match="two labels one name"):
        load_reward_model(f"{checkpoint}#a", "safety")

    config = json.loads((tmp_path / "config.json").read_text())
    del config["id2label"], config["label2id"]
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_labels": 3}))
    assert load_reward_model(f"{checkpoint}#LABEL_1", "safety").model.score.out_features == 1


def test_a_label_of_a_model_with_one_is_that_model(tmp_path: Path) -> None:
    checkpoint = str(save_checkpoint(tmp_path))
    whole, labelled = (load_reward_model(f"{checkpoint}{label}", "a") for label in ("", "#0"))

    assert labelled.profile.digest == whole.profile.digest


def test_heads_with_hidden_layers_and_biases_give_their_labels(tmp_path: Path) -> None:
    checkpoint = save(tmp_path)
    torch.manual_seed(0)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["score.weight"]
    first, last = torch.nn.Linear(32, 8), torch.nn.Linear(8, 3)
    for at, layer in ((0, first), (2, last)):
        tensors[f"score.{at}.weight"], tensors[f"score.{at}.bias"] = layer.weight, layer.bias
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    config["rewardd"] = {"head_activation": "relu"}
    (tmp_path / "config.json").write_text(json.dumps(config))

    engine = load_engine({name: f"{checkpoint}#{name}" for name in NAMES})

    item = engine.encode(DIALOGUES[1])
    (rewards,) = own_rewards(engine, [item])
    trunk: Any = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval().model
    with torch.inference_mode():
        ids = torch.tensor([item.by_model["2"].input_ids])
        wanted = last(torch.relu(first(trunk(input_ids=ids)[0][0, -1]))).tolist()
    assert list(rewards.values()) == pytest.approx(wanted, abs=1e-5)
    assert len(engine.describe()["2"]["shares_trunk_with"]) == 2


def test_calibration_is_the_labels_own_or_the_callers(tmp_path: Path) -> None:
    checkpoint = save(tmp_path)
    contract = default_contract(make_tokenizer(), max_length=512)
    labels = {"h": LabelManifest(), "v": LabelManifest(2.0, -1.0), "c": LabelManifest()}
    manifest = RewardModelManifest("safety", contract, temperature=9.0, labels=labels)
    assert RewardModelManifest.from_json(manifest.to_json()) == manifest
    write_manifest(tmp_path, manifest)

    own = load_reward_model(f"{checkpoint}#v", "helpfulness").profile
    said = load_reward_model(ModelSource(checkpoint, "v", temperature=3.0), "brevity").profile

    assert (own.temperature, own.bias) == (2.0, -1.0)
    assert (said.temperature, said.bias) == (3.0, 0.0)
    with pytest.raises(WrongNumLabels, match="it has h, v, c;"):
        load_reward_model(checkpoint, "safety")
