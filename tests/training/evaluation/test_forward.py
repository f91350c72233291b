import pytest
import torch

from rm_core.types import Dialogue
from training.comparisons import Comparison, Pair
from training.evaluation import score_comparisons
from training.models import UntrainedRewardModel


def test_the_mean_is_over_pairs_however_they_fall_into_batches(
    start: UntrainedRewardModel,
) -> None:
    texts = ["short", "a somewhat longer answer", "x " * 30, "y", "zz zz"]
    encoded = tuple(start.encoder.encode(Dialogue("p", text)) for text in texts)
    one = Comparison("i", "k", "p", tuple(texts), encoded, (Pair(0, 1),), (None,) * 5)
    alone = []
    for item in encoded:
        with torch.inference_mode():
            ids = torch.tensor([item.input_ids])
            alone.append(start.model.eval()(input_ids=ids).logits.item())
    for budget in (1, 70, 200, 10_000):
        (rewards,) = score_comparisons(
            start.model, [one], pad_token_id=start.pad_token_id, batch_tokens=budget
        )
        assert rewards == pytest.approx(alone, abs=1e-5)
