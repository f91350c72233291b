import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.perturbations import (
    FILLER,
    INSTRUCTION,
    PERTURBATIONS,
    PRAISE,
    in_lower_case,
    repeated,
    truncated_to_half,
    with_extra_white_space,
    with_filler,
    with_instruction,
    with_praise,
)

TEXT = st.text(min_size=1).filter(lambda text: bool(text.strip()))


@pytest.mark.parametrize("name", PERTURBATIONS)
@given(text=TEXT)
def test_a_perturbed_answer_is_never_empty_and_the_same_each_time(name: str, text: str) -> None:
    change = PERTURBATIONS[name].change
    assert change(text).strip()
    assert change(text) == change(text)


@given(TEXT)
def test_extra_white_space_changes_nothing_but_white_space(text: str) -> None:
    assert with_extra_white_space(text).split() == text.split()


@given(TEXT)
def test_half_is_the_beginning_of_the_answer(text: str) -> None:
    half = truncated_to_half(text)
    assert text.strip().startswith(half)
    assert len(half) == (len(text.strip()) + 1) // 2


def test_each_does_what_its_name_says() -> None:
    answer = "Take the A train.\nIt is fast. "
    assert with_extra_white_space(answer) == "Take  the  A  train.\n\nIt  is  fast.  "
    assert in_lower_case(answer) == "take the a train.\nit is fast. "
    assert with_filler("Yes. ") == f"Yes.\n\n{FILLER}"
    assert truncated_to_half("abcde") == "abc"
    assert repeated("Yes. ") == "Yes.\n\nYes. "
    assert with_praise("Yes.") == f"Yes.\n\n{PRAISE}"
    assert with_instruction("Yes.") == f"Yes.\n\n{INSTRUCTION}"


def test_what_has_nothing_to_change_stays_as_it_is() -> None:
    assert in_lower_case("好的") == "好的"
    assert with_extra_white_space("好的") == "好的"
