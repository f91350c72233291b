import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rm_core.types import Message
from training.data.formats import format_named
from training.data.records import PreferenceRecord, StepLabel, ranking_from_scores
from training.errors import MalformedRow


def test_a_record_survives_json_unchanged() -> None:
    record = PreferenceRecord(
        prompt=(Message("system", "Be brief."), Message("user", "Why?")),
        responses=("Because.", "No."),
        ranking=(0, 1),
        id="r1",
        strength="better",
        margin=0.5,
        ratings=(1.0, None),
        steps=((StepLabel(8, 0.5),), ()),
        is_safe=(True, None),
        is_safety=True,
        tags=("why",),
        split="heldout",
        source="here",
        token_ids=((1, 2), (1, 3)),
    )
    again = format_named("canonical").parse(
        json.loads(json.dumps(record.to_json())), id_="other", source="other"
    )
    assert again == record


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"responses": (), "ranking": ()}, "responses"),
        ({"ranking": (0,)}, "ranking"),
        ({"ranking": (0, -1)}, "negative"),
        ({"is_safe": (True,)}, "is_safe"),
        ({"margin": float("nan")}, "margin"),
        ({"margin": -1.0}, "margin"),
        ({"responses": ("a", "b", "c"), "ranking": (0, 1, 2), "margin": 1.0}, "margin"),
    ],
)
def test_parts_that_do_not_fit_are_refused_by_name(change: dict[str, object], word: str) -> None:
    fields: dict[str, object] = {
        "prompt": "p",
        "responses": ("a", "b"),
        "ranking": (0, 1),
        "id": "x",
    }
    with pytest.raises(MalformedRow, match=word):
        PreferenceRecord(**{**fields, **change})  # type: ignore[arg-type]


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=9))
def test_ranks_order_responses_exactly_as_their_scores_do(scores: list[int]) -> None:
    ranks = ranking_from_scores(scores)
    assert min(ranks) == 0
    for i, left in enumerate(scores):
        for j, right in enumerate(scores):
            assert (left > right) == (ranks[i] < ranks[j])
            assert (left == right) == (ranks[i] == ranks[j])
