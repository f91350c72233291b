from typing import Any

import pytest

from training.data.formats.options import WRITTEN_OPTIONS, FormatOptions
from training.errors import DataError


@pytest.mark.parametrize(
    "options",
    [
        {"rejected_key": "bad"},
        {"prompt_key": "question"},
        {"chosen_key": "good", "input_template": "no place"},
        {"chosen_key": "good", "input_template": "{} and {}"},
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        FormatOptions(**options)


def test_what_the_program_adds_is_not_written_by_users() -> None:
    assert set(WRITTEN_OPTIONS).isdisjoint({"decode", "columns", "tags"})
    written: dict[str, Any] = {**dict.fromkeys(WRITTEN_OPTIONS, "x {}"), "role": "safety"}
    assert FormatOptions(**written).names_keys
