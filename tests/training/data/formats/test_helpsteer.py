"""HelpSteer2's ratings and preferences, HelpSteer3's preferences."""

from pathlib import Path
from typing import Any

import pytest

from rm_core.types import Message
from tests.training.data.formats.golden import read_rows, record
from training.data.formats import format_named
from training.data.formats.helpsteer import HelpSteer2Format
from training.data.formats.options import FormatOptions
from training.errors import MalformedRow


def rated(prompt: str, response: str, helpfulness: int, verbosity: int = 1) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "response": response,
        "helpfulness": helpfulness,
        "correctness": 3,
        "coherence": 4,
        "complexity": 1,
        "verbosity": verbosity,
    }


ROWS = [rated("Boil an egg?", "Ten minutes.", 4, 0), rated("Boil an egg?", "In oil.", 1, 2)]


def test_ratings_of_one_prompt_stand_in_one_record(tmp_path: Path) -> None:
    read = read_rows(tmp_path, [*ROWS, rated("Fry one?", "In oil.", 3)])

    assert read.records == (
        record(
            1,
            prompt="Boil an egg?",
            responses=("Ten minutes.", "In oil."),
            ranking=(0, 1),
            ratings=(4.0, 1.0),
        ),
        record(3, prompt="Fry one?", responses=("In oil.",), ranking=(0,), ratings=(3.0,)),
    )


def test_another_attribute_can_be_the_rating(tmp_path: Path) -> None:
    read = read_rows(tmp_path, ROWS, FormatOptions(attribute="verbosity"))

    assert (read.records[0].ratings, read.records[0].ranking) == ((0.0, 2.0), (1, 0))
    with pytest.raises(MalformedRow, match="attribute"):
        HelpSteer2Format(FormatOptions(attribute="wit")).parse(ROWS[0], id_="", source="")


def test_a_dialogue_in_nemos_marks_becomes_messages(tmp_path: Path) -> None:
    prompt = "Hello\n<extra_id_1>Assistant\nHi.\n<extra_id_1>User\nBoil an egg?"

    assert read_rows(tmp_path, [rated(prompt, "Ten minutes.", 4)]).records[0].prompt == (
        Message("user", "Hello"),
        Message("assistant", "Hi."),
        Message("user", "Boil an egg?"),
    )


@pytest.mark.parametrize(
    ("strength", "ranking", "grade"),
    [
        (-3, (0, 1), "significantly_better"),
        (-2, (0, 1), "better"),
        (-1, (0, 1), "slightly_better"),
        (0, (0, 0), None),
        (1, (1, 0), "slightly_better"),
        (3, (1, 0), "significantly_better"),
    ],
)
def test_a_negative_preference_is_for_the_first_response(
    tmp_path: Path, strength: int, ranking: tuple[int, int], grade: str | None
) -> None:
    second = {
        "prompt": "Boil an egg?",
        "response_1": "Ten minutes.",
        "response_2": "In oil.",
        "preference_strength": strength,
        "split": "val",
    }
    expected: dict[str, Any] = {
        "responses": ("Ten minutes.", "In oil."),
        "ranking": ranking,
        "strength": grade,
    }

    assert read_rows(tmp_path, [second]).records == (
        record(1, prompt="Boil an egg?", split="heldout", **expected),
    )
    third = {
        "domain": "general",
        "context": [{"role": "user", "content": "Boil an egg?"}],
        "response1": "Ten minutes.",
        "response2": "In oil.",
        "overall_preference": strength,
    }
    assert read_rows(tmp_path, [third]).records == (
        record(1, prompt=(Message("user", "Boil an egg?"),), **expected),
    )


@pytest.mark.parametrize("strength", [4, 0.5, None, "2"])
def test_a_strength_of_another_scale_is_refused(strength: object) -> None:
    row = {"prompt": "p", "response_1": "a", "response_2": "b", "preference_strength": strength}

    with pytest.raises(MalformedRow, match="preference_strength"):
        format_named("helpsteer2-preference").parse(row, id_="", source="")
