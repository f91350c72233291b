from collections.abc import Sequence
from typing import Any

import pytest
import torch

from rm_core.checkpoint.manifest import HeadKind
from rm_core.errors import InputError
from rm_core.types import Encoded
from training.batches.collator import ExampleCollator, reads_of
from training.batches.padded import PaddedLayout
from training.data.examples import EncodedExample, Pair, StepTarget


def example(
    lengths: tuple[int, ...],
    pairs: tuple[Pair, ...],
    is_safe: tuple[bool | None, ...],
    **known: Any,
) -> EncodedExample:
    encoded = tuple(Encoded(tuple(range(10, 10 + n)), n - 1, num_prompt_tokens=1) for n in lengths)
    return EncodedExample(
        "i", "k", "p", ("x",) * len(lengths), pairs, is_safe=is_safe, encoded=encoded, **known
    )


BATCH = [
    example((2, 4), (Pair(1, 0, 0.5),), (True, None), ranking=(1, 0)),
    example(
        (3, 1, 2),
        (Pair(0, 1), Pair(0, 2), Pair(1, 2)),
        (None, False, None),
        ranking=(0, 1, 2),
        ratings=(2.5, None, -1.0),
    ),
]


def collator(
    *objectives: str, head: HeadKind = "last_token", weighting: Any = "prompt"
) -> ExampleCollator:
    weights = dict.fromkeys(objectives or ("bradley_terry",), 1.0)
    return ExampleCollator(PaddedLayout(0), weights, weighting, head)


def test_responses_stand_once_padded_right_and_pairs_point_to_them() -> None:
    batch = collator("bradley_terry", "safety_auxiliary")(BATCH)
    assert batch["input_ids"].tolist() == [
        [10, 11, 0, 0],
        [10, 11, 12, 13],
        [10, 11, 12, 0],
        [10, 0, 0, 0],
    ]  # the last response is the first one again
    assert torch.equal(batch["attention_mask"], (batch["input_ids"] != 0).long())
    assert batch["read_at"].tolist() == [[0, 1, 2, 3], [1, 3, 2, 0]]
    assert batch["read_order"].tolist() == [0, 1, 2, 3, 0]
    assert batch["chosen"].tolist() == [1, 2, 2, 3]
    assert batch["rejected"].tolist() == [0, 3, 4, 4]
    assert batch["margin"].tolist() == [0.5, 0, 0, 0]
    assert batch["pair_counts"].tolist() == [1, 3]
    assert (batch["labelled"].tolist(), batch["is_safe"].tolist()) == ([0, 3], [1.0, 0.0])


def test_pairs_of_one_prompt_share_its_weight_where_asked() -> None:
    assert collator(weighting="pair")(BATCH)["weight"].tolist() == [1, 1, 1, 1]
    shared = collator(weighting="prompt")(BATCH)["weight"]
    assert torch.allclose(shared, torch.tensor([1, 1 / 3, 1 / 3, 1 / 3]))


def test_rankings_of_different_lengths_stand_in_one_matrix() -> None:
    unordered = example((1, 1), (Pair(0, 1),), (None, None))  # its ranking must not be read
    batch = collator("listnet")([*BATCH, unordered])
    assert batch["places"].tolist() == [[0, 1, 0], [2, 3, 4]]
    assert batch["listed"].tolist() == [[True, True, False], [True, True, True]]
    assert batch["ranks"].tolist() == [[1, 0, 0], [0, 1, 2]]


def test_only_rated_responses_are_regressed() -> None:
    batch = collator("regression")(BATCH)
    assert (batch["rated"].tolist(), batch["rating"].tolist()) == ([2, 4], [2.5, -1.0])


def test_a_mean_head_reads_all_of_a_response_and_none_of_its_prompt() -> None:
    batch = collator(head="mean")([BATCH[0]])
    assert batch["read_at"].tolist() == [[0, 1, 1, 1], [1, 1, 2, 3]]
    assert batch["read_counts"].tolist() == [1, 3]
    assert torch.allclose(batch["read_share"], torch.tensor([1, 1 / 3, 1 / 3, 1 / 3]))


def test_a_mean_head_needs_to_know_where_the_response_begins() -> None:
    unknown = EncodedExample("i", "k", "p", ("x",), encoded=(Encoded((1, 2), 1),))
    with pytest.raises(InputError, match="begin"):
        reads_of(unknown, "mean", frozenset())


STEPPED = example(
    (6, 3), (Pair(0, 1),), (None, None), step_targets=((StepTarget(2, 1.0), StepTarget(5, 0.0)), ())
)


def test_steps_are_read_at_their_last_tokens_and_the_reward_at_its_own() -> None:
    batch = collator("steps", head="per_token")([BATCH[0], STEPPED])
    reads = batch["read_at"].T[batch["step_read"]].tolist()
    assert reads == [[2, 2], [2, 5]]
    assert batch["step_label"].tolist() == [1.0, 0.0]
    assert batch["read_counts"].tolist() == [1, 1, 2, 1]
    assert batch["read_share"].tolist() == [1, 1, 0, 1, 1]  # the last step ends at the end


def test_pairs_are_compared_token_by_token_at_the_positions_that_are_read() -> None:
    first, second = Encoded((1, 2, 3, 4), 3), Encoded((1, 9, 3), 2)
    pair = EncodedExample("i", "k", "p", ("x", "y"), (Pair(1, 0),), encoded=(first, second))
    batch = collator("token_bradley_terry", head="per_token")([BATCH[0], pair])
    rows, positions = batch["read_at"]

    def at(reads: torch.Tensor) -> Sequence[tuple[int, int]]:
        return list(zip(rows[reads].tolist(), positions[reads].tolist(), strict=True))

    # BATCH[0]: one response begins the other, so that their ends alone are compared.
    assert at(batch["token_chosen"]) == [(1, 3), (3, 1), (3, 2), (3, 2)]
    assert at(batch["token_rejected"]) == [(0, 1), (2, 1), (2, 2), (2, 3)]
    assert batch["token_counts"].tolist() == [1, 3]


def test_a_filler_weighs_nothing_in_any_objective() -> None:
    from training.losses import OBJECTIVES

    names = [*OBJECTIVES]
    filler = [each.without_labels() for each in (*BATCH, STEPPED)]
    batch = collator(*names, head="per_token")(filler)
    for name in names:
        assert OBJECTIVES[name].weights(batch).sum() == 0, name
