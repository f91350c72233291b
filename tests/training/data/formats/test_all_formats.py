"""What each format makes of rows that are not its plain one of `test_registry`."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.data.formats.shapes import CHOSEN_IDS, REJECTED_IDS, parse
from tests.training.data.formats.test_registry import Row
from tests.training.data.formats.variants import VARIANTS
from training.data.formats.steps import joined_steps
from training.data.formats.token_ids import common_ids
from training.data.records import PreferenceRecord


@pytest.mark.parametrize(("shape", "change", "options", "fields"), VARIANTS)
def test_changed_columns_and_options_change_exactly_these_fields(
    shape: str, change: Row, options: Row, fields: Row
) -> None:
    assert parse(shape, change, options) == replace(parse(shape, {}), **fields)


def test_named_columns_are_read_whatever_else_the_row_holds() -> None:
    assert parse("openrlhf", {}) == PreferenceRecord(
        "P", ("a", "b"), (0, 1), "f:1", margin=2.0, source="f"
    )


def test_token_ids_are_kept_beside_their_text() -> None:
    assert parse("token-ids", {}) == PreferenceRecord(
        prompt="<s>Is ice cold?",
        responses=(" Yes.</s>", " No</s>"),
        ranking=(0, 1),
        id="f:1",
        source="f",
        token_ids=(tuple(CHOSEN_IDS), tuple(REJECTED_IDS)),
    )


@given(
    prompt=st.text(alphabet="ab ", min_size=1).filter(str.strip),
    answers=st.tuples(st.text(alphabet="xy "), st.text(alphabet="zw ")),
)
def test_an_implicit_prompt_and_its_responses_put_together_are_the_row(
    prompt: str, answers: tuple[str, str]
) -> None:
    chosen, rejected = (f"{prompt} {own}" for own in answers)

    record = parse("trl-implicit", {"chosen": chosen, "rejected": rejected})

    assert tuple(f"{record.prompt}{own}" for own in record.responses) == (chosen, rejected)


@given(
    st.lists(st.integers(0, 3), max_size=6),
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=4),
)
def test_the_border_is_the_longest_beginning_that_leaves_each_text_a_token(
    beginning: list[int], ends: list[list[int]]
) -> None:
    texts = [beginning + end for end in ends]

    border = common_ids(texts)

    assert border >= len(beginning)
    assert all(text[:border] == texts[0][:border] and len(text) > border for text in texts)
    longer = [text[: border + 1] for text in texts]
    assert any(text != longer[0] for text in longer) or min(map(len, texts)) == border + 1


def test_each_step_ends_where_the_next_one_begins() -> None:
    response, steps = joined_steps(["one", "", "three", ""], [1.0, 0.0, 1.0, 0.0], "; ")

    assert response == "one; ; three; "
    # The empty last step has no character to stand on.
    assert [step.end for step in steps] == [5, 7, len(response)]
