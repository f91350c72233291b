import numpy as np

from tests.training.evaluation.made_up_examples import example
from training.evaluation.rewards import labelled, pair_table


def test_pairs_stand_in_a_row_with_their_gaps_and_prompts() -> None:
    examples = [example("a", ("x", "y", "z")), example("b", ("x",)), example("c")]
    table = pair_table(examples, [(3.0, 2.0, 0.5), (9.0,), (0.0, 1.0)])
    assert table.gap.tolist() == [1.0, 2.5, 1.5, -1.0]
    assert table.keys == ["a", "a", "a", "c"]
    assert table.owners.tolist() == [0, 0, 0, 2]


def test_no_pairs_make_an_empty_table() -> None:
    table = pair_table([example("a", ("x",))], [(1.0,)])
    assert table.gap.shape == (0,)
    assert table.pairs == []


def test_labels_come_with_their_rewards_and_prompts() -> None:
    examples = [example("a", is_safe=(True, None)), example("b", is_safe=(False, True))]
    rewards, labels, keys = labelled(examples, [(1.0, 2.0), (3.0, 4.0)], lambda c, i: c.is_safe[i])
    assert (rewards.tolist(), labels.tolist(), keys) == ([1, 3, 4], [1, 0, 1], ["a", "b", "b"])
    nothing, _, _ = labelled(examples, [(1.0, 2.0), (3.0, 4.0)], lambda *_: None)
    assert nothing.shape == (0,)
    assert nothing.dtype == np.float64
