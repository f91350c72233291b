"""A trunk's windows are what its layers ask for; one that its masks alone know is seen."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from rm_core.engine.forward.batched import BatchedForward
from rm_core.engine.forward.choose import trunk_obstacle
from rm_core.engine.forward.packed import PackedForward, TransformersTrunk, fastest_packed
from rm_core.engine.trunk.sliding_window import hidden_windows, layer_windows
from rm_core.types import Encoded
from tests.models import COMMON, make_model

ALTERNATING = {"layer_types": ["sliding_attention", "full_attention"]}


@pytest.mark.parametrize(
    ("architecture", "options", "windows"),
    [
        ("llama", {}, [None, None]),
        ("llama", {"sliding_window": 64}, [None, None]),  # a leftover that Llama's layers ignore
        ("mistral", {}, [64, 64]),
        ("mistral", {"sliding_window": None}, [None, None]),
        ("qwen2", {"sliding_window": 64}, [None, None]),  # switched off by use_sliding_window
        ("qwen3", {"sliding_window": 7, "use_sliding_window": True, **ALTERNATING}, [7, None]),
        ("gemma2", {}, [64, None]),
        ("gpt2", {}, [None, None]),
        ("gpt_neox", {}, [None, None]),
    ],
)
def test_each_layers_window_is_what_it_asks_its_attention_for(
    architecture: str, options: dict[str, Any], windows: list[int | None]
) -> None:
    model = make_model(architecture, **options)
    before = model.config._attn_implementation

    found = layer_windows(model)

    assert [window.asked for window in found] == windows
    assert not hidden_windows(model)
    assert model.config._attn_implementation == before
    assert trunk_obstacle(model) is None


def test_a_window_that_stands_in_the_masks_alone_is_an_obstacle() -> None:
    config = AutoConfig.for_model("phimoe", **COMMON, num_key_value_heads=2, sliding_window=64)
    model = AutoModelForSequenceClassification.from_config(config).eval()

    assert hidden_windows(model)
    assert "masks" in (trunk_obstacle(model) or "")


def test_a_mask_that_is_no_window_is_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.masking_utils import create_chunked_causal_mask
    from transformers.models.mistral import modeling_mistral

    model = make_model("mistral", attention_chunk_size=64)
    monkeypatch.setattr(
        modeling_mistral, "create_sliding_window_causal_mask", create_chunked_causal_mask
    )

    assert hidden_windows(model)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_leftover_window_in_the_config_changes_no_reward(architecture: str) -> None:
    rows = torch.randint(0, 250, (2, 90), generator=torch.Generator().manual_seed(0)).tolist()
    texts = [Encoded(tuple(row), 89) for row in rows]
    expected = BatchedForward(make_model(architecture), reason="").rewards(texts)

    found = fastest_packed(make_model(architecture, sliding_window=16)).rewards(texts)

    assert found == [pytest.approx(row, abs=1e-5) for row in expected]


def test_a_model_that_runs_packed_is_asked_and_runs_on() -> None:
    model = make_model("mistral")
    forward = PackedForward(model, run=TransformersTrunk(model))
    texts = [Encoded((1, 2, 3), 2), Encoded((1, 2, 4), 1)]
    before = forward.rewards(texts)

    assert [window.asked for window in layer_windows(model)] == [64, 64]

    assert forward.rewards(texts) == before
