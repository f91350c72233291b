"""Comparisons and their rewards as arrays."""

import numpy as np

from training.calibration.observations import observations_of
from training.data.examples import Example, Pair


def example(key: str, pairs: tuple[Pair, ...], is_safe: tuple[bool | None, ...]) -> Example:
    return Example(key, key, key, ("x",) * len(is_safe), pairs, is_safe=is_safe)


EXAMPLES = [
    example("b", (Pair(0, 1), Pair(2, 1)), (True, False, None)),
    example("a", (Pair(1, 0),), (None, None)),
    example("b", (), (False,)),
]
REWARDS = [(3.0, 1.0, 2.5), (0.25, 0.5), (-1.0,)]


def test_each_pair_gives_a_gap_and_each_label_a_reward() -> None:
    seen = observations_of(EXAMPLES, REWARDS)

    assert seen.pairs.gap.tolist() == [2.0, 1.5, 0.25]
    assert seen.labels.reward.tolist() == [3.0, 1.0, -1.0]
    assert seen.labels.is_safe.tolist() == [True, False, False]
    assert (seen.labels.num_safe, seen.labels.num_unsafe) == (1, 2)
    assert seen.rewards.tolist() == [3.0, 1.0, 2.5, 0.25, 0.5, -1.0]


def test_records_of_one_prompt_have_one_number_in_whatever_order_they_come() -> None:
    seen = observations_of(EXAMPLES, REWARDS)
    turned = observations_of(EXAMPLES[::-1], REWARDS[::-1])

    assert seen.num_prompts == 2
    assert seen.pairs.prompt.tolist() == [1, 1, 0]
    assert seen.labels.prompt.tolist() == [1, 1, 1]
    assert turned.pairs.prompt.tolist() == [0, 1, 1]


def test_some_prompts_only() -> None:
    seen = observations_of(EXAMPLES, REWARDS)

    part = seen.of_prompts(np.array([True, False]))

    assert part.pairs.gap.tolist() == [0.25]
    assert len(part.labels.reward) == 0
    assert len(part.rewards) == 6


def test_nothing_at_all_gives_empty_arrays() -> None:
    seen = observations_of([], [])

    assert (len(seen.pairs.gap), len(seen.labels.reward), seen.num_prompts) == (0, 0, 0)
