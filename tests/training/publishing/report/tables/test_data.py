"""Tables of the data report."""

from dataclasses import replace

from tests.training.publishing.report.made_up_inputs import usual_inputs
from training.data.accounting import DrawnPart, MixtureCounts
from training.publishing.report.tables.data import MOST_ROWS, data_tables


def test_both_splits_and_what_was_left_out_with_its_reason() -> None:
    tables = {table.title: table for table in data_tables(usual_inputs())}

    assert tables["Both splits"].columns == ("", "train", "held out")
    assert ("pairs", "4", "4") in tables["Both splits"].rows
    assert tables["Left out"].rows == (("empty prompt or response", "2"),)
    assert ("rows read", "9") in tables["Findings"].rows


def test_what_only_some_data_have_stands_there_where_they_have_it() -> None:
    given = usual_inputs()
    known = {"strengths": {"better": 3}, "ungraded": 1, "rated": 5, "steps": 7}
    train = replace(given.data.splits["train"], **known)
    splits = {**given.data.splits, "train": train}
    both, *_ = data_tables(replace(given, data=replace(given.data, splits=splits)))

    assert both.rows[-4:] == (
        ("pairs: better", "3", "0"),
        ("pairs without a grade", "1", "0"),
        ("rated responses", "5", "0"),
        ("labelled steps", "7", "0"),
    )


def test_no_id_stands_there() -> None:
    cells = [cell for table in data_tables(usual_inputs()) for row in table.rows for cell in row]

    assert not any("private-id" in cell for cell in cells)


def test_many_sources_are_cut_the_largest_first_and_the_rest_counted() -> None:
    given = usual_inputs()
    sources = {f"source {n:03}": n + 1 for n in range(100)}
    given = replace(given, data=replace(given.data, sources=sources))

    (table,) = (t for t in data_tables(given) if t.title == "Records per source")

    assert table.rows[0] == ("source 099", "100")
    assert len(table.rows) == MOST_ROWS + 1
    assert table.rows[-1] == ("60 more", "")


def test_a_mixture_shows_what_was_drawn() -> None:
    given = usual_inputs()
    mixture = MixtureCounts("weights", 0, (DrawnPart("harmless", ("a",), 0.9, 100, 90, 0.9),))
    given = replace(given, data=replace(given.data, mixture=mixture))

    (table,) = (t for t in data_tables(given) if t.title.startswith("Mixture"))

    assert table.rows == (("harmless", "90", "100", "90.0 %", "90.0 %"),)
