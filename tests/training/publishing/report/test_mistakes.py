"""The worst mistakes are the worst ones, by another way of finding them."""

import numpy as np
import pytest

from tests.training.publishing.report.made_up_inputs import comparisons
from training.publishing.report.mistakes import worst_mistakes


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_they_are_the_lowest_margins_one_of_a_prompt(most: int) -> None:
    examples, rewards = comparisons(80)

    found = worst_mistakes(examples, rewards, most=most)

    lowest = {
        example.prompt_key: min(own[pair.chosen] - own[pair.rejected] for pair in example.pairs)
        for example, own in zip(examples, rewards, strict=True)
    }
    wanted = sorted(margin for margin in lowest.values() if margin < 0)
    assert [one.margin for one in found.worst] == wanted[:most]
    assert found.prompts == len(wanted)
    gaps = [
        own[p.chosen] - own[p.rejected]
        for c, own in zip(examples, rewards, strict=True)
        for p in c.pairs
    ]
    assert found.wrong == int((np.array(gaps) < 0).sum())


def test_a_mistake_carries_what_is_known_of_its_pair() -> None:
    made, rewards = comparisons(4)
    rewards[1] = (-20.0, 10.0)

    first = worst_mistakes(made, rewards, most=1).worst[0]

    own = made[1]
    assert (first.id, first.prompt) == (own.id, own.prompt)
    assert (first.chosen, first.rejected) == own.responses
    assert (first.chosen_reward, first.rejected_reward) == (-20.0, 10.0)
    assert (first.chosen_safe, first.rejected_safe) == own.is_safe
    assert first.strength == own.pairs[0].strength


def test_ties_and_right_pairs_are_no_mistakes() -> None:
    made, _ = comparisons(4)
    right = [tuple(float(-i) for i in range(len(one.responses))) for one in made]
    tied = [(0.0,) * len(one.responses) for one in made]
    for rewards in (right, tied):
        found = worst_mistakes(made, rewards, most=5)
        assert (found.worst, found.wrong, found.prompts) == ((), 0, 0)
