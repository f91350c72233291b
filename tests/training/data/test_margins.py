from typing import Any

import pytest

from rm_core.errors import ConfigurationError
from training.data.margins import MARGINS, margins_of
from training.types import STRENGTHS

OWN = {"significantly_better": 5, "better": 1.5, "slightly_better": 0.5, "negligibly_better": 0}


def test_margin_tables_are_those_of_llama_2() -> None:
    assert [MARGINS["small"][grade] for grade in STRENGTHS] == [1, 2 / 3, 1 / 3, 0]
    assert [MARGINS["large"][grade] for grade in STRENGTHS] == [3, 2, 1, 0]
    assert set(MARGINS["none"].values()) == {0.0}


def test_a_name_stands_for_its_table_and_a_table_for_itself() -> None:
    assert margins_of("large") == MARGINS["large"]
    assert margins_of(OWN) == OWN  # type: ignore[arg-type]  # as TOML gives it


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("huge", "one of none, small, large"),
        ({"better": 1.0}, "each of"),
        ({**OWN, "much_better": 9}, "nothing else"),
        ({**OWN, "better": -1}, "margins.better"),
        ({**OWN, "better": float("nan")}, "margins.better"),
        ({**OWN, "better": True}, "margins.better"),
        ({**OWN, "better": "2"}, "margins.better"),
    ],
)
def test_any_other_table_is_refused_by_name(table: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        margins_of(table)
