"""Responses scored step by step."""

from itertools import pairwise
from pathlib import Path

import pytest

from tests.training.data.formats.golden import read_rows, record
from training.data.formats.options import FormatOptions
from training.data.formats.steps import ProcessStepsFormat, StepwiseFormat, joined_steps
from training.data.records import StepLabel
from training.errors import MalformedRow

COUNT = {
    "prompt": "How many legs have two cats?",
    "completions": ["A cat has 4.", "2 + 4 = 6.", "So 6."],
    "labels": [True, False, False],
}


def test_trls_stepwise_rows_become_one_response_with_labelled_steps(tmp_path: Path) -> None:
    read = read_rows(tmp_path, [COUNT])

    assert read.records == (
        record(
            1,
            prompt="How many legs have two cats?",
            responses=("A cat has 4.\n2 + 4 = 6.\nSo 6.",),
            ranking=(0,),
            steps=((StepLabel(13, 1.0), StepLabel(24, 0.0), StepLabel(29, 0.0)),),
        ),
    )


def test_another_separator_stands_where_the_options_put_it(tmp_path: Path) -> None:
    read = read_rows(tmp_path, [COUNT], FormatOptions(step_separator="\n\n"))

    assert read.records[0].responses == ("A cat has 4.\n\n2 + 4 = 6.\n\nSo 6.",)
    assert [step.end for step in (read.records[0].steps or ((),))[0]] == [14, 26, 31]


def test_process_steps_keep_what_was_judged_and_put_neutral_in_the_middle(tmp_path: Path) -> None:
    row = {
        "prompt": "3 · 3 + 1?",
        "steps": ["3 · 3 = 9.", "Nine is odd.", "9 + 1 = 11.", "11."],
        "step_labels": [1, 0, -1, None],
        "source": "sums",
    }

    read = read_rows(tmp_path, [row])

    assert read.records == (
        record(
            1,
            prompt="3 · 3 + 1?",
            responses=("3 · 3 = 9.\nNine is odd.\n9 + 1 = 11.\n11.",),
            ranking=(0,),
            steps=((StepLabel(11, 1.0), StepLabel(24, 0.5), StepLabel(36, 0.0)),),
            source="sums",
        ),
    )


def test_each_step_ends_where_the_next_one_begins() -> None:
    texts = ["one", "", "three", ""]

    response, steps = joined_steps(texts, [1.0, 0.0, 1.0, 0.0], "; ")

    assert response == "one; ; three; "
    begins = [0, *(step.end for step in steps)]
    pieces = [response[a:b] for a, b in pairwise(begins)]
    assert pieces == ["one; ", "; ", "three; "]  # the empty last step has no character to stand on


@pytest.mark.parametrize(
    "row",
    [
        {**COUNT, "labels": [True]},
        {**COUNT, "labels": ["good", "bad", "bad"]},
        {**COUNT, "completions": "A cat"},
    ],
)
def test_labels_that_do_not_fit_are_refused(row: dict[str, object]) -> None:
    with pytest.raises(MalformedRow):
        StepwiseFormat().parse(row, id_="", source="")


@pytest.mark.parametrize("labels", [[2], [1, 1], ["x"]])
def test_step_labels_of_another_scale_are_refused(labels: list[object]) -> None:
    row = {"prompt": "p", "steps": ["a"], "step_labels": labels}

    with pytest.raises(MalformedRow, match="step_labels"):
        ProcessStepsFormat().parse(row, id_="", source="")
