"""Two checkpoints on one trunk run it once; trunks are told apart by weights, not by names."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rm_core.engine import load_engine
from rm_core.engine.trunk.shared import same_trunk
from rm_core.types import Dialogue
from tests.models import make_model, make_tokenizer
from tests.rewards import own_rewards


def save(directory: Path, model: Any) -> str:
    model.save_pretrained(directory)
    make_tokenizer().save_pretrained(directory)
    return str(directory)


def with_another_head(model: Any) -> Any:
    twin = make_model("llama")
    twin.load_state_dict(model.state_dict())
    torch.nn.init.normal_(twin.score.weight, std=0.3)
    return twin


def test_only_equal_weights_make_the_same_trunk() -> None:
    model = make_model("llama", seed=1)
    twin = with_another_head(model)
    assert same_trunk(model, twin)

    with torch.no_grad():
        twin.model.layers[1].mlp.down_proj.weight[3, 3] += 1e-6
    assert not same_trunk(model, twin)
    assert not same_trunk(model, make_model("gpt2"))
    assert not same_trunk(model, make_model("bert"))


def test_equal_weights_under_another_rope_are_another_trunk() -> None:
    model = make_model("llama", seed=1)
    other = make_model("llama", seed=1, rope_parameters={"rope_type": "default", "rope_theta": 5e5})

    assert not same_trunk(model, other)


def test_two_heads_on_one_encoder_run_it_once_and_score_as_two_models(tmp_path: Path) -> None:
    model, twin = make_model("bert", seed=1), make_model("bert")
    twin.load_state_dict(model.state_dict())
    torch.nn.init.normal_(twin.classifier.weight, std=0.3)
    names = {"safety": save(tmp_path / "s", model), "helpfulness": save(tmp_path / "h", twin)}
    both = load_engine(names)
    apart = {role: load_engine({role: name}) for role, name in names.items()}
    dialogues = [Dialogue("a prompt ", "answer " * n) for n in range(1, 5)]

    rewards = own_rewards(both, [both.encode(d) for d in dialogues])

    assert both.describe()["safety"]["shares_trunk_with"] == ["helpfulness"]
    for role, engine in apart.items():
        alone = own_rewards(engine, [engine.encode(d) for d in dialogues])
        assert [r[role] for r in rewards] == pytest.approx([r[role] for r in alone], abs=1e-6)
    with torch.no_grad():
        twin.bert.pooler.dense.weight[3, 3] += 1e-6
    assert not same_trunk(model, twin)
