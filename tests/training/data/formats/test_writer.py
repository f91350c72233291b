"""Sources as users write them."""

from pathlib import Path
from typing import Any

import pytest

from rm_core.errors import ConfigurationError, RewardError
from tests.training.samples import preference_rows, write_jsonl
from training.data.formats import read_records
from training.data.formats.options import FormatOptions
from training.data.formats.writer import parsed_source, written_source


def test_a_source_carries_its_own_format_and_options(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a,b.jsonl", [{"q": "P", "up": "yes", "down": "no"}])

    text = f"{path},prompt_key=q,chosen_key=up,rejected_key=down,input_template=Ask: {{}}\\n"

    found = parsed_source(text)
    assert found.place == str(path)
    assert found.options.input_template == "Ask: {}\n"
    assert read_records([text]).records[0].prompt == "Ask: P\n"


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ("data.jsonl", "data.jsonl"),
        ({"path": "d", "weight": 0.9, "kind": "own_safety"}, "d,weight=0.9,kind=own_safety"),
        ({"path": "d", "step_separator": "\n\n"}, "d,step_separator=\\n\\n"),
    ],
)
def test_a_toml_table_says_the_same_as_text(item: Any, text: str) -> None:
    assert written_source(item) == text
    if isinstance(item, dict) and "step_separator" in item:
        assert parsed_source(text).options.step_separator == "\n\n"


@pytest.mark.parametrize("item", [3, {"weight": 1}, {"path": "d", "wieght": 1}])
def test_a_toml_table_with_something_else_is_refused(item: Any) -> None:
    with pytest.raises(ConfigurationError):
        written_source(item)


def test_what_the_source_says_wins_over_what_holds_for_all() -> None:
    options = FormatOptions(role="helpfulness", step_separator=";")

    found = parsed_source("d.jsonl,role=safety", options=options)

    assert (found.options.role, found.options.step_separator) == ("safety", ";")


def test_a_side_that_the_user_names_wins_over_the_rows_own(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "d.jsonl", preference_rows(8))

    read = read_records([f"{path},split=heldout"])

    assert {record.split for record in read.records} == {"heldout"}


def test_a_misspelt_setting_is_told_from_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "d.jsonl", preference_rows(2))

    with pytest.raises(ConfigurationError, match="no setting `wieght`; did you mean `weight`"):
        parsed_source(f"{path},wieght=2")
    with pytest.raises(ConfigurationError, match="no setting `x`; there are weight, kind"):
        parsed_source(f"{path},x=2")
    assert parsed_source("absent,x=2").place == "absent,x=2"


def test_a_file_whose_name_holds_a_comma_is_found(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a,b.jsonl", preference_rows(2))

    assert len(read_records([str(path)]).records) == 2
    assert len(read_records([path]).records) == 2


@pytest.mark.parametrize("setting", ["role=wit", "format=unheard-of", "input_template={}"])
def test_a_setting_that_cannot_be_meant_is_refused(tmp_path: Path, setting: str) -> None:
    path = write_jsonl(tmp_path / "d.jsonl", preference_rows(2))

    with pytest.raises(RewardError):
        read_records([f"{path},{setting}"])
