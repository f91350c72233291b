"""Attention in an encoder's row is each text's own, by every kernel."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rm_core.engine.attention.blocks import Blocks, block_attention
from tests.rm_core.engine.attention.oracles import ReferenceKernel
from tests.rm_core.engine.companies import examples

CPU = torch.device("cpu")


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (3, 1)])
@settings(max_examples=examples(20), deadline=None)
@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_block_attention_equals_one_softmax_for_each_text(
    heads: int, kv_heads: int, lengths: list[int]
) -> None:
    generator = torch.Generator().manual_seed(len(lengths))
    shapes = [(1, h, sum(lengths), 8) for h in (heads, kv_heads, kv_heads)]
    query, key, value = (torch.randn(shape, generator=generator) for shape in shapes)
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    blocks = Blocks([(s, s + n) for s, n in zip(starts, lengths, strict=True)], CPU)
    expected = []
    for start, end in blocks.ranges:
        k, v = (
            each[0, :, start:end].repeat_interleave(heads // kv_heads, 0) for each in (key, value)
        )
        weights = (query[0, :, start:end] @ k.mT * 0.3).softmax(-1)
        expected.append((weights @ v).transpose(0, 1))

    for kernel in (None, ReferenceKernel()):
        found, _ = block_attention(
            torch.nn.Identity(), query, key, value, None, blocks=blocks, scaling=0.3, kernel=kernel
        )

        assert torch.allclose(found[0], torch.cat(expected), atol=1e-5)


def test_a_window_is_refused_and_not_ignored() -> None:
    tensor = torch.randn(1, 1, 3, 4)

    with pytest.raises(ValueError, match="window"):
        block_attention(
            torch.nn.Identity(),
            tensor,
            tensor,
            tensor,
            None,
            blocks=Blocks([(0, 3)], CPU),
            sliding_window=2,
        )
