"""What data says about itself."""

from typing import Any

import pytest

from training.data.audit import Contradiction, audit, hardly_differ, strict_pairs
from training.data.records import PreferenceRecord
from training.types import Split

LONG = "The river runs north past the mill and the old stone bridge to the sea at last"


def pair(
    id_: str, chosen: str = "yes", rejected: str = "no", prompt: str = "Why?", **further: Any
) -> PreferenceRecord:
    return PreferenceRecord(prompt, (chosen, rejected), (0, 1), id_, **further)


def sides(*train: PreferenceRecord, heldout: Any = ()) -> dict[Split, list[PreferenceRecord]]:
    return {"train": list(train), "heldout": list(heldout)}


def test_a_pair_that_stands_both_ways_is_named_with_both_records() -> None:
    found = audit(
        sides(
            pair("first"),
            pair("same again"),
            pair("other prompt", "no", "yes", "Why not?"),
            heldout=[pair("against", " no", "yes ", "WHY?")],
        )
    )

    assert found.contradictions == (Contradiction("first", "against"),)


def test_a_ranking_contradicts_a_pair_inside_it() -> None:
    ranking = PreferenceRecord("Why?", ("no", "perhaps", "yes"), (0, 1, 2), "ranking")

    assert audit(sides(ranking, pair("pair"))).contradictions == (Contradiction("ranking", "pair"),)


def test_equal_responses_contradict_nothing() -> None:
    assert audit(sides(pair("a", "yes", "yes"), pair("b", "yes", "yes"))).contradictions == ()


@pytest.mark.parametrize(
    ("left", "right", "nearly"),
    [
        (LONG, LONG.replace("stone", "wooden"), True),
        (LONG, LONG.upper(), True),
        (LONG, f"{LONG}.", True),
        (LONG, LONG + " and on and on and on", False),
        (LONG, LONG.replace("north", "south").replace("last", "dusk"), False),
        (LONG, " " + LONG, False),  # the same response, which another count has
        ("yes", "no", False),
        ("I like cats", "I like dogs", False),
        ("", "", False),
    ],
)
def test_responses_hardly_differ_when_one_short_passage_is_all(
    left: str, right: str, nearly: bool
) -> None:
    assert hardly_differ(left, right) is nearly
    assert hardly_differ(right, left) is nearly


def test_hardly_differing_pairs_are_named_once_for_each() -> None:
    near = LONG.replace("stone", "wooden")
    ranking = PreferenceRecord("Why?", (LONG, near, "no"), (0, 1, 2), "ranking")

    assert audit(sides(ranking, pair("far"))).near_identical == ("ranking",)


def test_safety_bins_count_strict_pairs_with_both_labels() -> None:
    found = audit(
        sides(
            pair("1", is_safe=(True, False)),
            pair("2", is_safe=(True, True)),
            pair("3", is_safe=(False, False)),
            pair("4", is_safe=(False, True)),
            pair("5", is_safe=(True, None)),
            PreferenceRecord("tie", ("a", "b"), (0, 0), "6", is_safe=(True, False)),
            PreferenceRecord("three", ("a", "b", "c"), (0, 1, 1), "7", is_safe=(True, False, True)),
        )
    )

    assert dict(found.safety_bins) == {
        "chosen_safe_rejected_unsafe": 2,
        "both_safe": 2,
        "both_unsafe": 1,
        "chosen_unsafe_rejected_safe": 1,
    }
    assert audit(sides(pair("none"))).safety_bins == {}


def test_prompts_on_both_sides_count_once_whatever_their_case() -> None:
    found = audit(
        sides(pair("1"), pair("2"), pair("3", prompt="Else?"), heldout=[pair("4", prompt=" WHY? ")])
    )

    assert found.prompts_in_both_splits == 1


def test_records_are_counted_by_source() -> None:
    found = audit(
        sides(pair("1", source="b"), pair("2", source="a"), heldout=[pair("3", source="b")])
    )

    assert dict(found.records_by_source) == {"a": 1, "b": 2}


def test_strict_pairs_are_all_and_only_those_with_different_ranks() -> None:
    record = PreferenceRecord("p", ("a", "b", "c"), (1, 0, 1), "r")

    assert list(strict_pairs(record)) == [(1, 0), (1, 2)]
