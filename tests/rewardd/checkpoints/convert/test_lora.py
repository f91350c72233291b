"""An adapter under a value head stays an adapter, and scores as its project scores."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rewardd.checkpoints.convert.source import ReadOptions
from rm_core.engine.engine import load_engine
from rm_core.errors import CheckpointError
from tests.rewardd.checkpoints.convert import foreign
from tests.rewardd.checkpoints.convert.comparing import (
    assert_same,
    converted,
    ids_and_rewards,
    tensors,
)
from tests.rewardd.checkpoints.convert.foreign import Foreign


@pytest.mark.parametrize("build", [foreign.llama_factory_lora, foreign.trl_lora])
def test_an_adapter_stays_an_adapter_with_the_value_head_inside(
    build: Callable[[Path, Path], Foreign], tmp_path: Path
) -> None:
    source = build(tmp_path / "adapter", tmp_path / "base")

    converted(source, tmp_path / "ours")

    wanted = {
        **source.trunk,
        "base_model.model.score.weight": source.head,
        "base_model.model.score.bias": source.bias,
    }
    assert_same(tensors(tmp_path / "ours"), {k: t for k, t in wanted.items() if t is not None})
    found = ids_and_rewards(load_engine({"helpfulness": str(tmp_path / "ours")}))
    assert [reward for _, reward in found] == pytest.approx(
        [source.oracle(ids) for ids, _ in found], abs=1e-5
    )


def test_an_adapter_for_plain_peft_lacks_the_constant_alone(tmp_path: Path) -> None:
    from peft import AutoPeftModelForSequenceClassification

    source = foreign.llama_factory_lora(tmp_path / "adapter", tmp_path / "base")

    converted(source, tmp_path / "plain", target="transformers")

    model = AutoPeftModelForSequenceClassification.from_pretrained(
        tmp_path / "plain", num_labels=1
    ).eval()
    ids = [*range(40, 60)]
    with torch.inference_mode():
        found = float(model(torch.tensor([ids])).logits[0, 0])
    assert found + 1.5 == pytest.approx(source.oracle(ids), abs=1e-5)


def test_an_adapters_base_may_have_moved(tmp_path: Path) -> None:
    source = foreign.llama_factory_lora(tmp_path / "adapter", tmp_path / "base")
    (tmp_path / "base").rename(tmp_path / "elsewhere")

    with pytest.raises(CheckpointError, match="--base"):
        converted(source, tmp_path / "ours")
    converted(source, tmp_path / "ours", reading=ReadOptions(base=str(tmp_path / "elsewhere")))

    ids_and_rewards(load_engine({"helpfulness": str(tmp_path / "ours")}))
