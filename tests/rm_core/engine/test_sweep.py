"""Every class for sequence classification: each text's own reward in any company, or a refusal."""

import pytest
import transformers

from tests.rm_core.engine.sweep import (
    SPREAD_AT_LEAST,
    UNSERVED,
    Row,
    row_of,
    table,
    written_keepers,
    written_ways,
)
from tests.rm_core.engine.tiny_models import classes

TOLERANCE = 1e-5
FEW = 3
"""Classes that may stay without a tiny model: each is a class that nobody has looked at."""


@pytest.mark.filterwarnings("ignore")  # of transformers' own models
@pytest.mark.parametrize("name", classes())
def test_a_class_gives_each_text_its_own_reward_in_any_company_or_is_refused(name: str) -> None:
    transformers.logging.set_verbosity_error()

    row = row_of(name)

    assert row.way == written_ways()[name], f"now: {row}"
    assert row.kept == (name in written_keepers()), f"now: {row}"
    assert row.reason
    if row.way in UNSERVED:
        assert row.difference is None
    else:
        assert row.difference is not None
        assert row.difference <= TOLERANCE
        assert row.spread is not None
        assert row.spread >= SPREAD_AT_LEAST, "rewards too alike to show an error"


def test_the_guide_has_every_class_and_few_that_could_not_be_built() -> None:
    ways = written_ways()

    assert list(ways) == list(classes())
    assert sum(way == "not built" for way in ways.values()) <= FEW
    assert sum(way == "refused" for way in ways.values()) <= FEW


def test_the_table_counts_the_ways_and_says_the_largest_difference() -> None:
    rows = [
        Row("A", "padded", 2e-7, 0.5, "its attention can't be replaced"),
        Row("B", "padded", 4e-8, 0.5, "its attention can't be replaced"),
        Row("C", "refused", None, None, "raised"),
    ]

    head, *_, last = table(rows).splitlines()

    assert "3 classes: 2 padded, 1 refused; 0 keep prefixes." in head
    assert head.endswith("The largest difference of all is 2e-07.")
    assert last == "| C | refused |  |  | raised |"
