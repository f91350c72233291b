from dataclasses import replace
from itertools import count

import pytest
import torch

from rm_core.types import Dialogue
from training.batches.packed import PackedLayout
from training.batches.padded import BatchLayout, PaddedLayout, read_head
from training.data.examples import EncodedExample, Pair
from training.evaluation import score_examples
from training.modeling.reward_model import TrainableModel


@pytest.mark.parametrize("layout", [PackedLayout(), PaddedLayout(0)], ids=["packed", "padded"])
def test_equal_responses_have_equal_rewards_however_rows_are_rounded(
    start: TrainableModel, layout: BatchLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = tuple(start.encoder.encode(Dialogue("p", text)) for text in ("a", "b", "a"))
    one = EncodedExample("i", "k", "p", ("a", "b", "a"), (Pair(0, 1),), encoded=encoded)
    exact = read_head
    drift = count()
    for module in ("training.batches.padded", "training.batches.packed"):
        monkeypatch.setattr(
            f"{module}.read_head",
            lambda model, hidden: (
                exact(model, hidden) + torch.tensor([float(next(drift)) for _ in hidden])
            ),
        )

    in_one_batch = layout.rewards(start.model, layout.collate(encoded, [[1], [1], [1]])).tolist()
    ((first, second, third),) = score_examples(
        start.model, [one], pad_token_id=0, layout=layout, batch_tokens=1
    )

    assert in_one_batch[0] == in_one_batch[2] != in_one_batch[1]
    assert first == third != second


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
    one = EncodedExample("i", "k", "p", tuple(texts), (Pair(0, 1),), encoded=encoded)
    alone = []
    for item in encoded:
        with torch.inference_mode():
            ids = torch.tensor([item.input_ids])
            alone.append(start.model.eval()(input_ids=ids).logits.item())
    for budget in (1, 70, 200, 10_000):
        rewards, again = score_examples(
            start.model,
            [one, replace(one, encoded=encoded[::-1])],
            pad_token_id=start.pad_token_id,
            layout=layouts[way],
            batch_tokens=budget,
        )
        assert rewards == pytest.approx(alone, abs=1e-5)
        assert again == pytest.approx(alone[::-1], abs=1e-5)
