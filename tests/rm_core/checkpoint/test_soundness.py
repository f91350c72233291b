"""Heads that say nothing and texts that are not read, each refused by name."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rm_core.checkpoint.heads import HiddenLayerHead, head_of
from rm_core.checkpoint.load import load_reward_model
from rm_core.checkpoint.soundness import refuse_deaf, refuse_unsound_head
from rm_core.errors import UnsoundModel
from tests.models import make_model, make_tokenizer, save_checkpoint


@pytest.mark.parametrize("architecture", ["llama", "bert"])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda weight: weight.fill_(torch.nan), "not finite"),
        (lambda weight: weight[0, :1].fill_(-torch.inf), "not finite"),
        (lambda weight: weight.zero_(), "all 0"),
    ],
)
def test_a_head_that_says_nothing_is_refused(
    architecture: str, change: Callable[[Tensor], object], told: str
) -> None:
    model = make_model(architecture)
    refuse_unsound_head("it", model)
    with torch.no_grad():
        change(head_of(model).weight)

    with pytest.raises(UnsoundModel, match=told):
        refuse_unsound_head("it", model)


def test_a_head_with_hidden_layers_is_judged_by_its_last() -> None:
    model = make_model("llama")
    layers = [(torch.ones(8, 32), None), (torch.zeros(1, 8), torch.ones(1))]
    model.score = HiddenLayerHead(layers, "relu")

    with pytest.raises(UnsoundModel, match="all 0"):
        refuse_unsound_head("it", model)


@pytest.mark.parametrize("template", ["always the same", "{{ messages[0].content }}"])
def test_a_template_without_the_response_is_refused(tmp_path: Path, template: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    directory = save_checkpoint(tmp_path / "model", tokenizer=tokenizer)

    with pytest.raises(UnsoundModel, match="leaves the text out"):
        load_reward_model(str(directory), "safety")


def test_a_template_that_wants_other_messages_is_not_judged(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('send a system message') }}"
    directory = save_checkpoint(tmp_path / "model", tokenizer=tokenizer)

    refuse_deaf("it", load_reward_model(str(directory), "safety").encoder)
