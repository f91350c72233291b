"""The choice of the way to run a model, and the padded way's batches."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rm_core.checkpoint import load_reward_model
from rm_core.engine.attention import tree
from rm_core.engine.forward import choose_forward
from rm_core.engine.packed import PackedForward
from rm_core.engine.padded import PaddedForward, padded_batches
from rm_core.types import Encoded
from tests.models import DECODERS, save_checkpoint


@given(lengths=st.lists(st.integers(1, 300), max_size=60))
def test_padded_batches_hold_each_text_once_and_little_padding(lengths: list[int]) -> None:
    batches = padded_batches(lengths)

    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[i] for i in batch)
        assert sum(lengths[i] for i in batch) >= 0.9 * longest * len(batch)
    assert all(lengths[a[0]] >= lengths[b[0]] for a, b in pairwise(batches))


def encoded(rows: list[list[int]]) -> list[Encoded]:
    return [Encoded(tuple(row), len(row) - 1) for row in rows]


def first_head(rewards: list[list[float]]) -> list[float]:
    return [row[0] for row in rewards]


@pytest.mark.parametrize("share", [True, False], ids=["shared", "unshared"])
@pytest.mark.parametrize("architecture", DECODERS)
def test_packed_equals_padded_in_trees_three_deep(
    architecture: str, share: bool, tmp_path: Path
) -> None:
    loaded = load_reward_model(str(save_checkpoint(tmp_path, architecture)), "safety")
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 250, (40, 90), generator=generator).tolist()
    system = ids[0][:30]
    prompts = [system + ids[1][:40], system + ids[2][:9], ids[3][:50]]
    texts = encoded(
        [p + ids[4 + 8 * k + g][: 5 + 9 * g] for k, p in enumerate(prompts) for g in range(8)]
    )
    texts += encoded([system, prompts[0], prompts[0]])

    padded = PaddedForward(loaded.model, reason="")
    expected = [padded.rewards([text])[0] for text in texts]
    together = padded.rewards(texts)
    found = PackedForward(loaded.model, reason="", share=share).rewards(texts)

    assert first_head(together) == pytest.approx(first_head(expected), abs=1e-5)
    assert first_head(found) == pytest.approx(first_head(expected), abs=1e-5)


def test_a_text_is_read_where_its_encoding_says(tmp_path: Path) -> None:
    loaded = load_reward_model(str(save_checkpoint(tmp_path)), "safety")
    row = tuple(range(20, 60))

    for way in (PaddedForward, PackedForward):
        early, cut = way(loaded.model, reason="").rewards([Encoded(row, 10), Encoded(row[:11], 10)])
        assert early[0] == pytest.approx(cut[0], abs=1e-6)


def test_a_model_whose_packed_rewards_differ_goes_the_padded_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tree.merged_attention

    def wrong(*arguments: Any, **options: Any) -> torch.Tensor:
        return real(*arguments, **options) * 1.5

    monkeypatch.setattr(tree, "merged_attention", wrong)
    loaded = load_reward_model(str(save_checkpoint(tmp_path)), "safety")

    forward = choose_forward(loaded)

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

    forward = choose_forward(loaded)

    assert (forward.path, forward.reason) == ("padded", "the packed way raised RuntimeError")
    assert forward.rewards([Encoded((1, 2, 3), 2)])
