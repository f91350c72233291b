import numpy as np

from tests.training.evaluation.made_up_cases import case, steps
from training.data.examples import Comparison, Pair
from training.data.records import PreferenceRecord, StepLabel
from training.evaluation.cases import build_cases, case_of_comparison, labelled, pair_table


def record(
    number: int, *responses: str, ranking: tuple[int, ...] | None = None
) -> PreferenceRecord:
    return PreferenceRecord(
        prompt=f"prompt {number}",
        responses=responses,
        ranking=ranking or tuple(range(len(responses))),
        id=f"record-{number}",
        source="a.jsonl",
    )


def test_a_record_becomes_a_case_with_all_its_ordered_pairs() -> None:
    (found,) = build_cases([record(1, "a", "b", "c", ranking=(1, 0, 1))]).cases
    assert [(pair.chosen, pair.rejected) for pair in found.pairs] == [(1, 0), (1, 2)]
    assert found.ranking == (1, 0, 1)
    assert (found.source, found.id) == ("a.jsonl", "record-1")


def test_ties_empty_equal_and_repeated_ones_are_left_out_and_counted() -> None:
    built = build_cases(
        [
            record(1, "a", "b"),
            record(1, "a", "b"),
            record(1, "b", "a"),
            record(2, "same", " same "),
            record(3, "a", "  "),
            record(4, "a", "b", ranking=(0, 0)),
            record(5, " "),
        ]
    )
    assert built.left_out == {"duplicate_pair": 1, "empty_response": 2, "identical_pair": 1}
    assert built.tied_pairs == 1
    # The contradiction stays: nobody can have both right.
    assert [len(one.pairs) for one in built.cases] == [1, 0, 1, 0, 0, 0]


def test_a_case_of_some_responses_keeps_what_is_known_of_them() -> None:
    whole = case(
        "a",
        ("x", "y", "z"),
        ratings=(3.0, None, 1.0),
        is_safe=(True, False, None),
        steps=((), (), steps(1, 0)),
        token_ids=((1,), (2,), (3,)),
    )
    part = whole.only([0, 2])
    assert part.responses == ("x", "z")
    assert part.pairs == (Pair(0, 1),)
    assert (part.ranking, part.ratings, part.is_safe) == ((0, 2), (3.0, 1.0), (True, None))
    assert part.steps == ((), (StepLabel(4, 1), StepLabel(8, 0)))
    assert part.token_ids == ((1,), (3,))
    assert whole.only([0, 1, 2]) is whole


def test_pairs_stand_in_a_row_with_their_gaps_and_prompts() -> None:
    cases = [case("a", ("x", "y", "z")), case("b", ("x",)), case("c")]
    table = pair_table(cases, [(3.0, 2.0, 0.5), (9.0,), (0.0, 1.0)])
    assert table.gap.tolist() == [1.0, 2.5, 1.5, -1.0]
    assert table.keys == ["a", "a", "a", "c"]
    assert table.owners.tolist() == [0, 0, 0, 2]


def test_no_pairs_make_an_empty_table() -> None:
    table = pair_table([case("a", ("x",))], [(1.0,)])
    assert table.gap.shape == (0,)
    assert table.pairs == []


def test_labels_come_with_their_rewards_and_prompts() -> None:
    cases = [case("a", is_safe=(True, None)), case("b", is_safe=(False, True))]
    rewards, labels, keys = labelled(cases, [(1.0, 2.0), (3.0, 4.0)], lambda c, i: c.is_safe[i])
    assert (rewards.tolist(), labels.tolist(), keys) == ([1, 3, 4], [1, 0, 1], ["a", "b", "b"])
    nothing, _, _ = labelled(cases, [(1.0, 2.0), (3.0, 4.0)], lambda *_: None)
    assert nothing.shape == (0,)
    assert nothing.dtype == np.float64


def test_a_comparison_of_training_is_a_case_with_its_labels() -> None:
    comparison = Comparison(
        id="i",
        prompt_key="k",
        prompt="p",
        responses=("x", "y"),
        encoded=(),
        pairs=(Pair(1, 0),),
        is_safe=(None, True),
        ranks=(1, 0),
        ratings=(1.0, 2.0),
    )
    found = case_of_comparison(comparison)
    assert (found.ranking, found.ratings, found.is_safe) == ((1, 0), (1.0, 2.0), (None, True))
    assert found.pairs == comparison.pairs
