"""Whole trainings, packed: where they end, what they leave, and through what they run."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rm_core.types import Dialogue
from tests.training.samples import preference_rows, write_jsonl
from tests.training.small_trainings import fresh, recipe, train_examples
from training.batches.choose import choose_layout
from training.batches.packed import PackedLayout
from training.batches.padded import PaddedLayout
from training.data.examples import EncodedExample
from training.modeling.reward_model import TrainableModel
from training.modeling.trainable import prepare_for_training
from training.optimization.trainer import train
from training.pipeline import train_reward_model


@pytest.fixture
def examples(start: TrainableModel, tmp_path: Path) -> tuple[EncodedExample, ...]:
    return train_examples(start.encoder, tmp_path, 16)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gradient_checkpointing": True},
        {"max_pack_tokens": 64},
        {"objective": "token_bradley_terry", "head": "per_token"},
        {"head": "mean"},
    ],
    ids=["plain", "checkpointed", "cut", "per token", "mean"],
)
def test_a_packed_run_ends_where_the_padded_one_does(
    tiny_base: Path,
    examples: tuple[EncodedExample, ...],
    tmp_path: Path,
    changes: dict[str, Any],
) -> None:
    ends, said = [], []
    for packing in (True, False):
        config = recipe(packing=packing, **changes)
        trained = train(
            fresh(tiny_base),
            examples,
            config,
            run_directory=tmp_path / str(packing),
            say=said.append,
        )
        assert trained.layout is not None
        assert trained.layout["name"] == ("packed" if packing else "padded")
        ends.append(trained.model.state_dict())

    packed, padded = ends
    for name, weight in padded.items():
        assert torch.allclose(packed[name], weight, atol=1e-4), name
    assert said[0] == "batches are packed: decoder with replaceable attention"
    assert said[2] == "batches are padded: packing is switched off"


def test_an_adapter_has_the_gradients_of_the_padded_rows(
    tiny_base: Path, examples: tuple[EncodedExample, ...]
) -> None:
    pytest.importorskip("peft")
    start = prepare_for_training(fresh(tiny_base), recipe(trainable="lora"))
    model, texts = start.model.train(), [e for c in examples[:4] for e in c.encoded]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # zero at first, which would leave lora_A without gradients
                parameter.normal_(0.0, 0.1)
    chosen = choose_layout(model, start.pad_token_id)
    assert chosen.layout.name == "packed"

    found = []
    for layout in (chosen.layout, PaddedLayout(start.pad_token_id)):
        model.zero_grad()
        with layout.attached(model):
            inputs = layout.collate(texts, [[text.read_position] for text in texts])
            layout.rewards(model, inputs).square().mean().backward()
        found.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})

    packed, padded = found
    assert any("lora_A" in name for name in padded)
    for name, gradient in padded.items():
        assert torch.allclose(packed[name], gradient, atol=1e-5), name


def test_what_a_packed_run_saves_is_plain_transformers(tiny_base: Path, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "rows.jsonl", preference_rows(16))
    config = recipe(
        data=[str(data)],
        base=str(tiny_base),
        output=str(tmp_path / "out"),
        save_steps=2,
        max_length=128,
    )

    result = train_reward_model(config)

    assert result.manifest.training["layout"]["name"] == "packed"
    configs = list(tmp_path.rglob("config.json"))
    assert len(configs) >= 2
    assert all("rewardd_tree" not in path.read_text() for path in configs)
    assert json.loads((tmp_path / "out" / "reward_model.json").read_text())["training"]["packing"]


def test_a_wrapped_model_runs_its_wrapper(start: TrainableModel) -> None:
    """What DDP does before and after a forward must happen for packed batches too."""

    class Wrapper(torch.nn.parallel.DistributedDataParallel):
        def __init__(self, module: torch.nn.Module) -> None:
            torch.nn.Module.__init__(self)
            self.module = module
            self.calls = 0

        def forward(self, *inputs: Any, **named: Any) -> Any:
            self.calls += 1
            return self.module(*inputs, **named)

    wrapped = Wrapper(start.model)
    texts = [
        start.encoder.encode(Dialogue("Which of the two?", answer))
        for answer in ("this one", "that one")
    ]
    for layout in (PackedLayout(), PaddedLayout(start.pad_token_id)):
        with layout.attached(start.model):
            layout.rewards(wrapped, layout.collate(texts, [[t.read_position] for t in texts]))

    assert wrapped.calls == 2
