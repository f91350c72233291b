"""The table of how the training went."""

from tests.training.publishing.report.made_up_inputs import LOG, report_inputs
from training.publishing.report.tables.learning import learning_table


def test_first_and_last_figures_and_clipped_updates_are_counted() -> None:
    log = [*LOG, {"step": 50, "epoch": 1.0, "train_runtime": 12.34}]
    rows = dict(learning_table(report_inputs(history=log)).rows)

    assert rows["updates"] == "50"
    assert rows["loss, first logged"] == "0.6700"
    assert rows["loss, last logged"] == "0.4000"
    assert rows["accuracy, last logged"] == "80.0 %"
    assert rows["largest gradient norm logged"] == "4"
    assert rows["logged updates that were clipped"] == "8 of 10"
    assert rows["seconds of training"] == "12.3"


def test_an_empty_log_makes_a_table_all_the_same() -> None:
    assert dict(learning_table(report_inputs(history=())).rows)["updates"] == "0"


def test_several_objectives_are_named_with_their_weights() -> None:
    given = report_inputs(objectives={"bradley_terry": 1.0, "centering": 0.01})

    assert learning_table(given).note == "The loss is 1 × bradley terry + 0.01 × centering."
