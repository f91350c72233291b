"""Responses without an order."""

from pathlib import Path

import pytest

from tests.training.data.formats.golden import read_rows, record
from training.data.formats.unranked import UnrankedFormat
from training.errors import MalformedRow


def test_responses_without_an_order_all_have_one_rank(tmp_path: Path) -> None:
    rows = [
        {"prompt": "P", "responses": ["a", "b"], "is_safe": [True, None]},
        {"prompt": "Q", "response": "c", "is_safe": False},
        {"prompt": "R", "response": "d"},
    ]

    assert read_rows(tmp_path, rows).records == (
        record(1, prompt="P", responses=("a", "b"), ranking=(0, 0), is_safe=(True, None)),
        record(2, prompt="Q", responses=("c",), ranking=(0,), is_safe=(False,)),
        record(3, prompt="R", responses=("d",), ranking=(0,)),
    )


def test_an_ordered_row_behind_an_unordered_one_keeps_its_order(tmp_path: Path) -> None:
    rows = [
        {"prompt": "P", "responses": ["a", "b"]},
        {"prompt": "Q", "responses": ["c", "d"], "ranking": [1, 0]},
    ]

    assert [r.ranking for r in read_rows(tmp_path, rows).records] == [(0, 0), (1, 0)]


@pytest.mark.parametrize(
    "row", [{"prompt": "P", "response": 3}, {"prompt": "P", "responses": "a"}, {"prompt": 1}]
)
def test_a_row_of_other_types_is_refused(row: dict[str, object]) -> None:
    with pytest.raises(MalformedRow):
        UnrankedFormat().parse(row, id_="f:1", source="f")
