import torch

from rm_core.types import Encoded
from training.collator import ComparisonCollator
from training.comparisons import Comparison, Pair


def comparison(
    lengths: tuple[int, ...], pairs: tuple[Pair, ...], is_safe: tuple[bool | None, ...]
) -> Comparison:
    encoded = tuple(Encoded(tuple(range(10, 10 + n)), n - 1) for n in lengths)
    return Comparison("i", "k", "p", ("x",) * len(lengths), encoded, pairs, is_safe)


BATCH = [
    comparison((2, 4), (Pair(1, 0, 0.5),), (True, None)),
    comparison((3, 1, 2), (Pair(0, 1), Pair(0, 2), Pair(1, 2)), (None, False, None)),
]


def test_responses_stand_once_padded_right_and_pairs_point_to_them() -> None:
    batch = ComparisonCollator(0, "pair")(BATCH)
    assert batch["input_ids"].tolist() == [
        [10, 11, 0, 0],
        [10, 11, 12, 13],
        [10, 11, 12, 0],
        [10, 0, 0, 0],
        [10, 11, 0, 0],
    ]
    assert torch.equal(batch["attention_mask"], (batch["input_ids"] != 0).long())
    assert batch["chosen"].tolist() == [1, 2, 2, 3]
    assert batch["rejected"].tolist() == [0, 3, 4, 4]
    assert batch["margin"].tolist() == [0.5, 0, 0, 0]
    assert (batch["labelled"].tolist(), batch["is_safe"].tolist()) == ([0, 3], [1.0, 0.0])


def test_pairs_of_one_prompt_share_its_weight_where_asked() -> None:
    assert ComparisonCollator(0, "pair")(BATCH)["weight"].tolist() == [1, 1, 1, 1]
    shared = ComparisonCollator(0, "prompt")(BATCH)["weight"]
    assert torch.allclose(shared, torch.tensor([1, 1 / 3, 1 / 3, 1 / 3]))
