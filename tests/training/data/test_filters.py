from training.data.examples import Example, Pair
from training.data.filters import PairFilter, filtered_examples
from training.data.records import PreferenceRecord


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


def test_a_record_becomes_an_example_with_all_its_ordered_pairs() -> None:
    (found,) = filtered_examples([record(1, "a", "b", "c", ranking=(1, 0, 1))]).examples
    assert [(pair.chosen, pair.rejected) for pair in found.pairs] == [(1, 0), (1, 2)]
    assert found.ranking == (1, 0, 1)
    assert (found.source, found.id) == ("a.jsonl", "record-1")


def test_ties_empty_equal_and_repeated_ones_are_left_out_and_counted() -> None:
    built = filtered_examples(
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
    assert [len(one.pairs) for one in built.examples] == [1, 0, 1, 0, 0, 0]


def test_training_leaves_a_contradiction_out_and_safety_an_unsafe_choice() -> None:
    first = Example("i", "k", "p", ("a", "b"), is_safe=(False, True))

    def said(rule: PairFilter) -> list[str | None]:
        return [rule.objection(first, pair) for pair in (Pair(0, 1), Pair(1, 0), Pair(0, 1))]

    assert said(PairFilter("helpfulness")) == [None, "swapped_duplicate", "duplicate"]
    assert said(PairFilter("safety")) == ["unsafe_chosen", None, "unsafe_chosen"]
    assert said(PairFilter(keeps_contradictions=True)) == [None, None, "duplicate"]
