"""HelpSteer2's ratings: neighbours of one prompt stand in one record."""

from pathlib import Path
from typing import Any

from tests.training.data.formats.golden import read_rows, record


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
