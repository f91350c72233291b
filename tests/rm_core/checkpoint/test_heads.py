"""Heads are evaluated in float32, with or without bias, one or many."""

import pytest
import torch
from torch.nn import Linear

from rm_core.checkpoint.heads import HiddenLayerHead, ScalarHeads, has_head_on_tokens, head_of
from rm_core.errors import MissingHead, WrongNumLabels
from tests.models import make_model


def test_heads_on_one_trunk_give_one_column_each() -> None:
    with_bias, without = Linear(3, 1), Linear(3, 1, bias=False)
    hidden = torch.randn(5, 3)

    rewards = torch.tensor(ScalarHeads([with_bias, without])(hidden))

    assert torch.allclose(rewards[:, :1], with_bias(hidden))
    assert torch.allclose(rewards[:, 1:], without(hidden))


def test_a_reduced_precision_trunk_is_read_in_float32() -> None:
    head = Linear(64, 1, bias=False)
    hidden = torch.randn(2, 64).bfloat16()

    rewards = torch.tensor(ScalarHeads([head])(hidden))

    assert torch.allclose(rewards, head(hidden.float()), atol=1e-6)


def test_a_head_with_two_outputs_is_refused() -> None:
    with pytest.raises(WrongNumLabels, match="this one 2"):
        ScalarHeads([Linear(3, 2)])


def test_the_head_is_the_last_layer_on_the_trunk_and_no_narrow_layer_within_it() -> None:
    decoder, encoder = make_model("llama"), make_model("bert")
    encoder.bert.narrow = Linear(3, 1)

    assert head_of(decoder) is decoder.score
    assert head_of(encoder) is encoder.classifier
    assert (has_head_on_tokens(decoder), has_head_on_tokens(encoder)) == (True, False)
    with pytest.raises(MissingHead, match="one output"):
        head_of(make_model("bert", num_labels=2))


def test_heads_on_the_same_hidden_layers_run_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [(torch.randn(4, 6), torch.randn(4)), (torch.randn(3, 4), torch.randn(3))]
    whole = HiddenLayerHead(layers, "tanh")
    other = HiddenLayerHead(layers, "relu").label(0)
    heads = [whole.label(2), Linear(6, 1), whole.label(0), other, whole.label(1)]
    hidden = torch.randn(5, 6)
    wanted = torch.cat([head(hidden) for head in heads], dim=1)
    products: list[int] = []
    real = Linear.forward
    monkeypatch.setattr(Linear, "forward", lambda self, x: (products.append(1), real(self, x))[1])

    found = torch.tensor(ScalarHeads(heads)(hidden))

    assert torch.allclose(found, wanted, atol=1e-6)
    assert len(products) == 2  # tanh's hidden layer, and relu's
