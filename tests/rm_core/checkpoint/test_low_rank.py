"""What an adapter adds to its base is taken out of peft's layers, or named where it is more."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rm_core.checkpoint.load import load_reward_model
from rm_core.checkpoint.low_rank import low_rank_parts, without_adapter
from tests.adapters import save_adapter
from tests.models import make_model


def model_of(adapter: Path) -> Any:
    return load_reward_model(str(adapter), "safety").model


def test_parts_are_named_by_layer_and_scaled_as_peft_scales_them(
    base: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "use_rslora": True,
        "rank_pattern": {"q_proj": 9},
        "alpha_pattern": {"v_proj": 3},
        "layers_to_transform": [1],
    }
    model = model_of(save_adapter(tmp_path / "a", base, seed=1, **options))

    parts = low_rank_parts(model)

    assert isinstance(parts, dict)
    assert sorted(parts) == [
        "layers.1.mlp.down_proj",
        "layers.1.self_attn.o_proj",
        "layers.1.self_attn.q_proj",
        "layers.1.self_attn.v_proj",
    ]
    scalings = {name.rpartition(".")[2]: part.scaling for name, part in parts.items()}
    assert scalings == pytest.approx(
        {"q_proj": 8 / 3, "v_proj": 3 / 2, "o_proj": 8 / 2, "down_proj": 8 / 2}
    )
    assert parts["layers.1.self_attn.q_proj"].down.shape == (9, 32)
    assert parts["layers.1.self_attn.q_proj"].up.shape == (32, 9)


def test_a_full_checkpoint_has_none() -> None:
    assert low_rank_parts(make_model("llama")) == {}


# Of a bias that can't be merged; here nothing is.
@pytest.mark.filterwarnings("ignore:.lora_bias=True. was passed")
@pytest.mark.filterwarnings("ignore:Adapter 'default'.*LoRA tensor.s. have invalid shape")
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"use_dora": True}, "more than low-rank parts (Dora) at layers.0.self_attn.q_proj"),
        ({"lora_bias": True}, "a bias (lora_bias) at layers.0.self_attn.q_proj"),
        (
            {"modules_to_save": ["score", "norm"]},
            "a module of its own (modules_to_save) at layers.0.input_layernorm",
        ),
        (
            {"modules_to_save": ["score", "embed_tokens"]},
            "a module of its own (modules_to_save) at embed_tokens",
        ),
    ],
)
def test_what_is_more_than_low_rank_parts_is_named(
    options: dict[str, Any], told: str, base: Path, tmp_path: Path
) -> None:
    assert low_rank_parts(model_of(save_adapter(tmp_path / "a", base, seed=1, **options))) == told


def test_a_part_in_another_precision_than_its_base_is_named(adapter: Path) -> None:
    model = model_of(adapter)
    model.base_model.layers[1].self_attn.v_proj.lora_B["default"].to(torch.float64)

    found = low_rank_parts(model)

    assert found == "a part in another precision at layers.1.self_attn.v_proj"


def test_the_base_without_an_adapter_is_the_same_memory_and_no_peft(adapter: Path) -> None:
    model = model_of(adapter)

    base = without_adapter(model)

    ids = torch.tensor([[1, 2, 3]])
    assert not any("peft" in type(module).__module__ for module in base.modules())
    assert {id(each) for each in base.parameters()} < {id(each) for each in model.parameters()}
    assert low_rank_parts(model) != {}, "the model keeps its adapter"
    assert not torch.equal(model(input_ids=ids).logits, base(input_ids=ids).logits)
