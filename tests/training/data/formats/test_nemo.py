"""NeMo-Aligner's lines and NeMo-RL's ranked completions."""

import json
from pathlib import Path
from typing import Any

import pytest

from rm_core.types import Message
from tests.training.data.formats.golden import FILE, read_rows, record
from training.data.formats import read_records
from training.data.formats.nemo import (
    NemoPairsFormat,
    NemoRegressionFormat,
    NemoRlFormat,
    marked_turns,
)
from training.data.formats.options import FormatOptions
from training.errors import MalformedRow, UnusableRow


def marked(question: str, answer: str, *, system: str = "") -> str:
    return (
        f"<extra_id_0>System\n{system}\n<extra_id_1>User\n{question}\n"
        f"<extra_id_1>Assistant\n{answer}\n<extra_id_2>"
    )


def pair(number: int) -> list[dict[str, str]]:
    question = f"Is {number} even?"
    return [{"text": marked(question, "Yes.")}, {"text": marked(question, "Cheese.")}]


def test_alternating_lines_are_chosen_and_rejected(tmp_path: Path) -> None:
    assert read_rows(tmp_path, [*pair(2), *pair(4)]).records == tuple(
        record(
            line,
            prompt=(Message("user", f"Is {number} even?"),),
            responses=("Yes.", "Cheese."),
            ranking=(0, 1),
        )
        for line, number in ((1, 2), (3, 4))
    )


@pytest.mark.parametrize("broken", range(6))
def test_a_broken_line_spoils_its_own_pair_and_turns_no_other_around(
    tmp_path: Path, broken: int
) -> None:
    lines = [json.dumps(row) for number in (2, 4, 6) for row in pair(number)]
    lines[broken] = "{"
    path = tmp_path / FILE
    path.write_text("\n".join(lines))

    read = read_records([path])

    assert [r.responses for r in read.records] == [("Yes.", "Cheese.")] * 2
    partner = broken ^ 1
    assert {row.where for row in read.malformed} == {
        f"{FILE}:{broken + 1}",
        f"{FILE}:{partner + 1}",
    }


def test_a_last_line_without_partner_is_named(tmp_path: Path) -> None:
    read = read_rows(tmp_path, [*pair(2), pair(4)[0]])

    assert len(read.records) == 1
    assert [row.where for row in read.malformed] == [f"{FILE}:3"]


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("\n\nHuman: Hi\n\nAssistant: Yes.", "\n\nHuman: Hi\n\nAssistant: No.", "Hi"),
        ("Hi there: Yes.", "Hi there: No.", "Hi there: "),
    ],
)
def test_lines_in_transcripts_or_bare_texts_are_pairs_too(
    chosen: str, rejected: str, prompt: str
) -> None:
    rows = [{"text": chosen}, {"text": rejected}]

    found = NemoPairsFormat().parse_rows(rows, id_="", source="")

    assert found.prompt in {prompt, (Message("user", prompt),)}
    assert found.responses == ("Yes.", "No.")


def test_lines_of_different_questions_are_set_aside() -> None:
    with pytest.raises(UnusableRow, match="prompts_differ"):
        NemoPairsFormat().parse_rows([pair(2)[0], pair(4)[1]], id_="", source="")


def test_a_regression_label_is_the_rating_of_one_attribute(tmp_path: Path) -> None:
    label = [-100, 0, 1, 2, 4, 3, 3.5, 1, 2]
    row = {"text": marked("Why?", "So.", system="Be kind."), "label": label}

    read = read_rows(tmp_path, [row])

    assert read.records == (
        record(
            1,
            prompt=(Message("system", "Be kind."), Message("user", "Why?")),
            responses=("So.",),
            ranking=(0,),
            ratings=(4.0,),
        ),
    )
    coherence = FormatOptions(attribute="coherence")
    assert read_rows(tmp_path, [row], coherence).records[0].ratings == (3.5,)


def test_a_masked_attribute_is_no_rating() -> None:
    row = {"text": marked("Why?", "So."), "label": [-100] * 9}

    with pytest.raises(UnusableRow, match="not_rated"):
        NemoRegressionFormat().parse(row, id_="", source="")


@pytest.mark.parametrize(
    ("row", "attribute"),
    [
        ({"text": marked("Why?", "So."), "label": [1, 2]}, None),
        ({"text": marked("Why?", "So."), "label": ["a"] * 9}, None),
        ({"text": "no turn", "label": [1] * 9}, None),
        ({"text": marked("Why?", "So."), "label": [1] * 9}, "kindness"),
    ],
)
def test_a_broken_regression_row_is_refused(row: dict[str, Any], attribute: str | None) -> None:
    with pytest.raises(MalformedRow):
        NemoRegressionFormat(FormatOptions(attribute=attribute)).parse(row, id_="", source="")


def completion(rank: float, text: str) -> dict[str, Any]:
    return {"rank": rank, "completion": [{"role": "assistant", "content": text}]}


def test_lower_ranks_are_better_and_may_tie(tmp_path: Path) -> None:
    row = {
        "context": [{"role": "user", "content": "Name a fruit."}],
        "completions": [completion(3, "Stone"), completion(0, "Plum"), completion(0, "Pear")],
        "task_name": "fruit",
    }

    assert read_rows(tmp_path, [row]).records == (
        record(
            1,
            prompt=(Message("user", "Name a fruit."),),
            responses=("Stone", "Plum", "Pear"),
            ranking=(1, 0, 0),
        ),
    )


def test_completions_that_part_before_their_end_are_set_aside() -> None:
    longer = completion(1, "b")
    longer["completion"].insert(0, {"role": "user", "content": "And?"})
    row = {"context": "Why?", "completions": [completion(0, "a"), longer]}

    with pytest.raises(UnusableRow, match="prompts_differ"):
        NemoRlFormat().parse(row, id_="", source="")


def test_a_completion_without_rank_is_refused() -> None:
    row = {"context": "Why?", "completions": [completion(0, "a"), {"completion": []}]}

    with pytest.raises(MalformedRow, match="rank"):
        NemoRlFormat().parse(row, id_="", source="")


def test_what_stands_before_the_first_mark_is_the_users() -> None:
    text = "Hello\n<extra_id_1>Assistant\nHi\n<extra_id_1>User\nWhy?"

    assert marked_turns(text) == (
        Message("user", "Hello"),
        Message("assistant", "Hi"),
        Message("user", "Why?"),
    )
