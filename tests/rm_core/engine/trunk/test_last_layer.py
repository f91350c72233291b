"""The last layer runs only where a head reads, and nothing else changes."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rm_core.engine.forward.packed import PackedForward, TransformersTrunk
from rm_core.engine.trunk.last_layer import read_all_rows, read_rows_only
from rm_core.types import Encoded
from tests.models import DECODERS, make_model

KNOWN = ("llama", "qwen2", "qwen3", "mistral", "gemma2")


def texts() -> list[Encoded]:
    ids = torch.randint(0, 250, (6, 40), generator=torch.Generator().manual_seed(3)).tolist()
    return [Encoded(tuple(row[: 5 + 6 * n]), 3 + 5 * n) for n, row in enumerate(ids)]


@pytest.mark.parametrize("architecture", KNOWN)
def test_the_last_feed_forward_half_sees_only_read_rows(architecture: str) -> None:
    model = make_model(architecture)
    rows: list[int] = []
    forward = PackedForward(model, reason="")
    for layer in model.base_model.layers:
        layer.mlp.register_forward_hook(lambda _m, inputs, _o: rows.append(inputs[0].shape[1]))

    forward.rewards(texts())

    assert rows == [sum(4 + 5 * n for n in range(6)), 6]


@pytest.mark.parametrize("architecture", sorted(set(DECODERS) - set(KNOWN)))
def test_an_unknown_form_is_left_alone(architecture: str) -> None:
    model = make_model(architecture)

    assert not read_rows_only(model.base_model)
    assert not TransformersTrunk(model).skips_unread


def test_undoing_restores_the_layer(tmp_path: Path) -> None:
    model: Any = make_model("llama")
    layer = model.base_model.layers[-1]
    before = layer.forward

    assert read_rows_only(model.base_model)
    assert layer.forward != before
    read_all_rows(model.base_model)

    assert layer.forward == before
