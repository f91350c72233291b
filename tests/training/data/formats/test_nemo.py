"""NeMo-Aligner's pairs of lines."""

import json
from pathlib import Path

import pytest

from rm_core.types import Message
from tests.training.data.formats.golden import FILE, read_rows, record
from training.data.formats import read_records
from training.data.formats.nemo import NemoPairsFormat
from training.errors import UnusableRow


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
