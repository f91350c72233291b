"""The choice of the way to run a model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from rm_core.checkpoint.load import load_reward_model
from rm_core.engine.attention import tree
from rm_core.engine.forward.choose import choose_forward, run_by_transformers
from rm_core.engine.forward.self_test import random_texts
from rm_core.engine.options import EngineOptions
from rm_core.types import Encoded
from tests.models import COMMON, classifier_of, make_tokenizer, save_checkpoint

TORCH = EngineOptions(attention="torch")
"""Attention by the function that these tests replace, with a compiler and without."""


def test_a_model_whose_packed_rewards_differ_goes_the_padded_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tree.merged_attention

    def wrong(*arguments: Any, **options: Any) -> torch.Tensor:
        return real(*arguments, **options) * 1.5

    monkeypatch.setattr(tree, "merged_attention", wrong)
    loaded = load_reward_model(str(save_checkpoint(tmp_path)), "safety")

    forward = choose_forward(loaded, options=TORCH)

    assert forward.path == "padded"
    assert "differ" in forward.reason
    assert loaded.model.config._attn_implementation == "sdpa"


def test_a_model_whose_packed_way_raises_goes_the_padded_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> torch.Tensor:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(tree, "merged_attention", broken)
    loaded = load_reward_model(str(save_checkpoint(tmp_path)), "safety")

    forward = choose_forward(loaded, options=TORCH)

    assert forward.path == "padded"
    assert "the packed way raised RuntimeError (no such kernel)" in forward.reason
    assert forward.rewards([Encoded((1, 2, 3), 2)])


def test_masked_tokens_of_one_text_change_no_other_texts_reward(tmp_path: Path) -> None:
    mask = 3  # ESM scales a whole row's embeddings by the share of masked tokens in it
    config = AutoConfig.for_model(
        "esm", **{**COMMON, "pad_token_id": 1}, token_dropout=True, mask_token_id=mask
    )
    classifier_of(config).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    loaded = load_reward_model(str(tmp_path), "safety")
    rows = [list(range(10, 30)), [9, *[mask] * 9, *range(40, 50)], list(range(60, 77))]
    with torch.inference_mode():
        alone = [float(loaded.model(input_ids=torch.tensor([row])).logits) for row in rows]

    forward = choose_forward(loaded)

    texts = [Encoded(tuple(row), len(row) - 1) for row in rows]
    assert [row[0] for row in forward.rewards(texts)] == pytest.approx(alone, abs=1e-5)
    assert "packed rewards differ" in forward.reason


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("smollm3", {"num_hidden_layers": 4, "num_key_value_heads": 2}),
        ("helium", {"num_key_value_heads": 2, "head_dim": 8}),
    ],
)
def test_a_model_that_fails_chunk_by_chunk_runs_packed_by_transformers_layers(
    architecture: str, options: dict[str, Any], tmp_path: Path
) -> None:
    classifier_of(AutoConfig.for_model(architecture, **{**COMMON, **options})).save_pretrained(
        tmp_path
    )
    make_tokenizer().save_pretrained(tmp_path)
    loaded = load_reward_model(str(tmp_path), "safety")
    texts = random_texts(loaded.model, 80, count=6)
    with torch.inference_mode():
        alone = [
            float(loaded.model(input_ids=torch.tensor([text.input_ids])).logits) for text in texts
        ]

    forward = choose_forward(loaded)

    assert forward.path == "packed"
    assert forward.shares_prefixes
    assert "not chunk by chunk, as packed rewards differ by" in forward.reason
    assert [row[0] for row in forward.rewards(texts)] == pytest.approx(alone, abs=1e-5)


def test_what_only_one_of_several_reasons_tells_is_told_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> torch.Tensor:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(tree, "merged_attention", broken)
    loaded = load_reward_model(str(save_checkpoint(tmp_path)), "safety")

    reason = choose_forward(loaded, options=TORCH).reason

    for way in ("chunk by chunk", "with the last layer cut short", "with every row of the last"):
        assert f"not {way}" in reason


def test_a_model_that_was_run_packed_can_be_given_back_to_transformers(tmp_path: Path) -> None:
    model = (loaded := load_reward_model(str(save_checkpoint(tmp_path)), "safety")).model
    ids = torch.randint(0, 250, (2, 30), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = model(input_ids=ids).logits
    assert choose_forward(loaded).path == "packed"

    run_by_transformers(model, "sdpa")

    with torch.inference_mode():
        assert torch.equal(model(input_ids=ids).logits, before)
    assert all(parameter.is_contiguous() for parameter in model.parameters())
