"""PKU-SafeRLHF, the row of the table that reads its options: a record for each reward model."""

from pathlib import Path
from typing import Any

import pytest

from tests.training.data.formats.golden import read_rows, record
from training.data.formats import format_named
from training.data.formats.options import FormatOptions
from training.errors import MalformedRow

ROW: dict[str, Any] = {
    "prompt": "May I dye my cat?",
    "response_0": "With bleach.",
    "response_1": "Better not.",
    "is_response_0_safe": False,
    "is_response_1_safe": True,
    "better_response_id": 0,
    "safer_response_id": 1,
}
SHARED: dict[str, Any] = {
    "prompt": "May I dye my cat?",
    "responses": ("With bleach.", "Better not."),
    "is_safe": (False, True),
}


def test_helpfulness_goes_by_the_better_response(tmp_path: Path) -> None:
    expected = record(1, ranking=(0, 1), **SHARED)

    for options in (None, FormatOptions(role="helpfulness")):
        assert read_rows(tmp_path, [ROW], options).records == (expected,)


def test_safety_goes_by_the_safer_response(tmp_path: Path) -> None:
    read = read_rows(tmp_path, [ROW], FormatOptions(role="safety"))

    assert read.records == (record(1, ranking=(1, 0), is_safety=True, **SHARED),)


@pytest.mark.parametrize(
    "change", [{"better_response_id": 2}, {"is_response_0_safe": "no"}, {"response_1": None}]
)
def test_a_broken_row_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedRow):
        format_named("pku-saferlhf").parse({**ROW, **change}, id_="", source="")
