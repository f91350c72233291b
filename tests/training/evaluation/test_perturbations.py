import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.perturbations import FILLER, INSTRUCTION, PERTURBATIONS, PRAISE

TEXT = st.text(min_size=1).filter(lambda text: bool(text.strip()))


@pytest.mark.parametrize("name", PERTURBATIONS)
@given(text=TEXT)
def test_a_perturbed_answer_is_never_empty_and_the_same_each_time(name: str, text: str) -> None:
    change = PERTURBATIONS[name].change
    assert change(text).strip()
    assert change(text) == change(text)


@pytest.mark.parametrize(
    ("name", "answer", "changed"),
    [
        ("extra_white_space", "Take it.\nIt is fast. ", "Take  it.\n\nIt  is  fast.  "),
        ("extra_white_space", "好的", "好的"),
        ("lower_case", "Take the A train.\n", "take the a train.\n"),
        ("lower_case", "好的", "好的"),
        ("filler", "Yes. ", f"Yes.\n\n{FILLER}"),
        ("half", "abcde", "abc"),
        ("half", " ab\n", "a"),
        ("repeated", "Yes. ", "Yes.\n\nYes. "),
        ("praise", "Yes.", f"Yes.\n\n{PRAISE}"),
        ("instruction", "Yes.", f"Yes.\n\n{INSTRUCTION}"),
    ],
)
def test_each_does_what_its_name_says(name: str, answer: str, changed: str) -> None:
    assert PERTURBATIONS[name].change(answer) == changed
