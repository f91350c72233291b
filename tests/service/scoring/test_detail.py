"""What is asked of an item's responses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rm_client.models import GroupItem, ResponseItem, ScoreOptions, StepsItem
from rm_core.rewards.rule import ScoredItem, ScoredResponse
from rm_core.types import Dialogue
from service.results import ItemFailure
from service.schemas.score import ScorableWireItem
from service.scoring.detail import detail_of, response_json, split_steps, with_detail

STEPS = StepsItem(prompt="p", steps=["a. ", "b."])
RESPONSE = ResponseItem(prompt="p", response="a. b.", is_safety=True)


@pytest.mark.parametrize(
    ("response", "ends"),
    [
        ("a--b--c", (3, 6, 7)),
        ("a--b--", (3, 6)),
        ("a", (1,)),
        ("--a--b", (5, 6)),
        ("a-- --  --b", (3, 11)),
        ("a--b--\n", (3, 6)),
        ("a---b", (3, 5)),
        ("", ()),
        (" -- ", ()),
    ],
)
def test_steps_end_behind_their_separator_and_blank_ones_do_not_count(
    response: str, ends: tuple[int, ...]
) -> None:
    assert split_steps(response, "--") == ends


@given(st.lists(st.from_regex(r"\A[a-z ]*[a-z][a-z ]*\Z"), min_size=1, max_size=6))
def test_what_was_joined_is_split_again(steps: list[str]) -> None:
    response = "\n\n".join(steps)

    ends = split_steps(response, "\n\n")

    begins = (0, *ends)
    parts = [response[a:b] for a, b in zip(begins, ends, strict=False)]
    assert parts == [f"{step}\n\n" for step in steps[:-1]] + steps[-1:]


@pytest.mark.parametrize(
    ("item", "asked", "kind"),
    [
        (RESPONSE, None, None),
        (RESPONSE, "tokens", "tokens"),
        (RESPONSE, "steps", "steps"),
        (STEPS, None, "steps"),
        (STEPS, "steps", "steps"),
        (STEPS, "tokens", "tokens"),
    ],
)
def test_steps_speak_for_themselves_unless_tokens_are_asked_for(item, asked, kind) -> None:
    assert detail_of(item, ScoreOptions(detail=asked)) == kind


def test_a_response_of_which_nothing_is_read_has_empty_lists() -> None:
    scored_response = ScoredResponse(
        ScoredItem({"safety": 1.0}, 3), {"safety": 1.0}, {"safety": 0.7}, "safety", 1.0
    )

    reply = response_json(scored_response, RESPONSE, ScoreOptions(detail="tokens"))

    assert reply["safety"]["tokens"] == {
        "ids": (),
        "texts": [],
        "offsets": [],
        "rewards": (),
    }


def test_an_item_is_passed_on_as_it_is_where_nothing_is_asked() -> None:
    failure = ItemFailure("missing_field", "send one")

    assert with_detail(RESPONSE, ScoreOptions()) == ScorableWireItem(RESPONSE)
    assert with_detail(failure, ScoreOptions(detail="tokens")) is failure


def test_a_detailed_item_is_the_item_read_at_more_places() -> None:
    group = GroupItem(prompt="p", responses=["a. b.", "c"])
    options = ScoreOptions(detail="steps", step_separator=". ")

    found = with_detail(group, options)
    tagged = with_detail(RESPONSE, ScoreOptions(detail="tokens"))
    steps = with_detail(STEPS, options)

    assert not isinstance(found, ItemFailure | ScorableWireItem)
    assert found.dialogues() == [
        Dialogue("p", "a. b.", read_at=(3, 5)),
        Dialogue("p", "c", read_at=(1,)),
    ]
    assert found.pointer_of(1, "response") == "/responses/1"
    assert tagged.is_safety
    assert tagged.dialogues() == [Dialogue("p", "a. b.", read_at="tokens")]
    assert steps.dialogues() == [Dialogue("p", "a. b.", read_at=(3, 5))]
