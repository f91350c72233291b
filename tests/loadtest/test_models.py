import json

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from loadtest.models import SIZES, build_models
from tests.loadtest.conftest import SIZE


def load(path):
    return AutoModelForSequenceClassification.from_pretrained(path, use_safetensors=True)


def test_two_heads_stand_on_one_trunk_and_the_third_model_on_its_own(models):
    safety, helpfulness, other = map(load, (models.safety, models.helpfulness, models.other_trunk))

    for name, tensor in safety.model.state_dict().items():
        assert torch.equal(tensor, helpfulness.model.state_dict()[name])
    assert not torch.equal(safety.score.weight, helpfulness.score.weight)
    name = "layers.0.mlp.up_proj.weight"
    assert not torch.equal(safety.model.state_dict()[name], other.model.state_dict()[name])


def test_rewards_spread_over_units_so_that_a_wrong_row_shows(model):
    loaded = load(model)
    ids = torch.randint(3, SIZE.vocabulary, (32, 16), generator=torch.Generator().manual_seed(0))

    with torch.inference_mode():
        rewards = loaded(input_ids=ids).logits[:, 0]

    assert 0.3 < float(rewards.std()) < 3.0


def test_a_checkpoint_names_a_tokenizer_class_that_older_peers_know(model):
    config = json.loads((model / "tokenizer_config.json").read_text())

    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert tokenizer.decode(tokenizer("The river, often.")["input_ids"]) == "The river, often."
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3


def test_models_that_stand_are_kept_and_another_size_replaces_them(tmp_path):
    built = build_models(tmp_path, SIZE)
    weights = built.safety / "model.safetensors"
    before = weights.stat().st_mtime_ns

    build_models(tmp_path, SIZE)
    assert weights.stat().st_mtime_ns == before

    build_models(tmp_path, SIZES["toy"], seed=5)
    assert weights.stat().st_mtime_ns > before


@pytest.mark.parametrize(
    ("name", "layers", "hidden"), [("tiny", 6, 256), ("narrow", 12, 256), ("small", 12, 512)]
)
def test_the_sizes_are_those_of_the_published_figures(name, layers, hidden):
    assert (SIZES[name].layers, SIZES[name].hidden) == (layers, hidden)
    assert SIZES[name].vocabulary >= 8192
