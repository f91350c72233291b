from dataclasses import replace

import pytest
import torch

from rm_core.types import Dialogue
from training.batches.packed import PackedLayout
from training.batches.padded import BatchLayout, PaddedLayout
from training.data.examples import Comparison, Pair
from training.evaluation import score_comparisons
from training.modeling.reward_model import TrainableModel


@pytest.mark.parametrize("way", ["usual", "packed", "padded"])
def test_the_mean_is_over_pairs_however_they_fall_into_batches(
    start: TrainableModel, way: str
) -> None:
    layouts: dict[str, BatchLayout | None] = {
        "usual": None,
        "packed": PackedLayout(),
        "padded": PaddedLayout(start.pad_token_id),
    }
    texts = ["short", "a somewhat longer answer", "x " * 30, "y", "zz zz"]
    encoded = tuple(start.encoder.encode(Dialogue("p", text)) for text in texts)
    one = Comparison("i", "k", "p", tuple(texts), encoded, (Pair(0, 1),), (None,) * 5)
    alone = []
    for item in encoded:
        with torch.inference_mode():
            ids = torch.tensor([item.input_ids])
            alone.append(start.model.eval()(input_ids=ids).logits.item())
    for budget in (1, 70, 200, 10_000):
        rewards, again = score_comparisons(
            start.model,
            [one, replace(one, encoded=encoded[::-1])],
            pad_token_id=start.pad_token_id,
            layout=layouts[way],
            batch_tokens=budget,
        )
        assert rewards == pytest.approx(alone, abs=1e-5)
        assert again == pytest.approx(alone[::-1], abs=1e-5)
