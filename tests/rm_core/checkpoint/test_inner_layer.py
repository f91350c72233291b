"""A checkpoint read at an inner layer: transformers' own forward of it, its list of layers cut."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForSequenceClassification

from rm_core.checkpoint.accounting import ABOVE
from rm_core.checkpoint.inner_layer import inner_layer
from rm_core.checkpoint.load import load_reward_model
from rm_core.checkpoint.manifest import RewardModelManifest, write_manifest
from rm_core.checkpoint.source import ModelSource
from rm_core.engine import load_engine
from rm_core.errors import CheckpointError
from rm_core.text.contract import default_contract
from rm_core.types import Dialogue
from tests.models import make_tokenizer, save_checkpoint
from tests.rewards import own_rewards
from tests.rm_core.engine.tiny_models import classes, tiny_config, tiny_model

DEPTH, LAYER = 4, 2
DIALOGUES = [Dialogue("a shared prompt ", "answer " * n) for n in range(1, 4)]
LISTS = {"llama": "model.layers", "gpt2": "transformer.h", "bert": "bert.encoder.layer"}
CUT = (
    "LlamaForSequenceClassification",
    "Gemma2ForSequenceClassification",
    "Gemma3TextForSequenceClassification",
    "GPTNeoForSequenceClassification",
    "BloomForSequenceClassification",
    "MixtralForSequenceClassification",
    "MptForSequenceClassification",
    "ModernBertForSequenceClassification",
    "SmolLM3ForSequenceClassification",
)


def save(directory: Path, architecture: str) -> str:
    return str(save_checkpoint(directory, architecture, num_hidden_layers=DEPTH))


def cut_by_hand(checkpoint: str, list_name: str, layer: int) -> Any:
    """The whole model as transformers loads it, layers taken off the end of its list."""
    model: Any = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    parent, _, own = list_name.rpartition(".")
    layers = model.get_submodule(list_name)
    setattr(model.get_submodule(parent), own, layers[:layer])
    return model


@pytest.mark.parametrize("architecture", LISTS)
@pytest.mark.parametrize("layer", [1, LAYER, DEPTH])
def test_a_reward_is_that_of_transformers_model_cut(
    architecture: str, layer: int, tmp_path: Path
) -> None:
    checkpoint = save(tmp_path, architecture)
    engine = load_engine({"helpfulness": ModelSource(checkpoint, layer=layer)})
    items = [engine.encode(dialogue) for dialogue in DIALOGUES]

    found = [own["helpfulness"] for own in own_rewards(engine, items)]

    by_hand = cut_by_hand(checkpoint, LISTS[architecture], layer)
    with torch.inference_mode():
        wanted = [
            float(by_hand(input_ids=torch.tensor([item.by_model["helpfulness"].input_ids])).logits)
            for item in items
        ]
    assert found == pytest.approx(wanted, abs=1e-5)
    assert engine.profiles["helpfulness"].layer == (None if layer == DEPTH else layer)


@pytest.mark.parametrize("name", CUT)
def test_lists_of_one_entry_a_layer_are_cut_as_well(name: str, tmp_path: Path) -> None:
    config = tiny_config(classes()[name])
    depth = config.num_hidden_layers
    model = tiny_model(config)
    model.save_pretrained(tmp_path)
    inner = inner_layer(name, AutoConfig.from_pretrained(tmp_path), depth - 1)
    assert inner is not None
    types = getattr(inner.config, "layer_types", None)
    assert types is None or len(types) == depth - 1

    short: Any = AutoModelForSequenceClassification.from_pretrained(tmp_path, config=inner.config)

    by_hand = cut_by_hand(str(tmp_path), inner.list_name, depth - 1)
    ids = torch.randint(4, 60, (1, 20))
    with torch.inference_mode():
        found, wanted = (each.eval()(input_ids=ids).logits for each in (short, by_hand))
        whole = model(input_ids=ids).logits
    assert torch.allclose(found, wanted, atol=1e-5)
    assert not torch.allclose(found, whole, atol=1e-3), "the last layer does too little to show"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("BartForSequenceClassification", "an encoder and a decoder"),
        ("AlbertForSequenceClassification", "no one list of"),
    ],
)
def test_what_can_not_be_cut_is_refused_by_name(name: str, why: str) -> None:
    with pytest.raises(CheckpointError, match=rf"rm \(\w+\) can't be read at an inner.*{why}"):
        inner_layer("rm", tiny_config(classes()[name]), 1)


def test_a_scale_by_the_depth_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def scaled(config: Any) -> Any:
        model = make(config)
        model.model.residual_scale = config.num_hidden_layers**-0.5
        return model

    make = AutoModelForSequenceClassification.from_config
    monkeypatch.setattr(AutoModelForSequenceClassification, "from_config", scaled)
    config = tiny_config(classes()["LlamaForSequenceClassification"])

    with pytest.raises(CheckpointError, match="model computes with residual_scale, which changes"):
        inner_layer("rm", config, 1)


def test_the_layers_above_are_told_and_never_loaded(tmp_path: Path) -> None:
    loaded = load_reward_model(ModelSource(save(tmp_path, "llama"), layer=LAYER), "safety")

    fates = {entry.name: entry for entry in loaded.accounts}
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        names = set(file.keys())
    above = {name for name in names if "layers.2." in name or "layers.3." in name}
    assert above
    assert {name for name, entry in fates.items() if entry.reason == ABOVE} == above
    assert {entry.fate for name, entry in fates.items() if name not in above} == {"used"}
    assert len(loaded.model.model.layers) == LAYER
    with pytest.raises(CheckpointError, match=r"has 4 layers, and layer 5 is asked for; take 1"):
        load_reward_model(ModelSource(str(tmp_path), layer=5), "safety")


def test_another_layer_is_another_model_on_another_trunk(tmp_path: Path) -> None:
    checkpoint = save(tmp_path, "llama")
    layers = {"whole": None, "last": DEPTH, "half": 2, "first": 1}
    engine = load_engine({name: ModelSource(checkpoint, layer=k) for name, k in layers.items()})

    digests = [profile.digest for profile in engine.profiles.values()]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    shared = [about["shares_trunk_with"] for about in engine.describe().values()]
    assert shared == [["last"], ["whole"], [], []]


def test_a_manifest_tells_its_layer_and_another_one_loses_what_was_fitted_there(
    tmp_path: Path,
) -> None:
    checkpoint = save(tmp_path, "llama")
    contract = default_contract(make_tokenizer(), max_length=512)
    manifest = RewardModelManifest("safety", contract, temperature=2.0, layer=LAYER)
    assert RewardModelManifest.from_json(manifest.to_json()) == manifest
    write_manifest(tmp_path, manifest)

    own = load_reward_model(checkpoint, "safety").profile
    other = load_reward_model(ModelSource(checkpoint, layer=3), "safety").profile

    assert (own.layer, own.temperature) == (LAYER, 2.0)
    assert (other.layer, other.temperature) == (3, 1.0)
