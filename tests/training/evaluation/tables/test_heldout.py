"""Tables of held-out figures, cell by cell."""

from tests.training.publishing.report.made_up_inputs import rated_inputs, usual_inputs
from training.evaluation.tables.all_tables import model_tables
from training.evaluation.tables.heldout import accuracy_table, pairs_table, responses_table


def test_the_model_stands_above_its_baselines_with_both_intervals() -> None:
    given = usual_inputs()
    table = accuracy_table(given.figures, given.baselines)
    own = given.figures.pairs.accuracy

    assert table.rows[0][:4] == (
        "reward model",
        f"{100 * own.value:.1f} %",
        f"{100 * own.bootstrap.low:.1f}–{100 * own.bootstrap.high:.1f} %",
        f"{100 * own.wilson.low:.1f}–{100 * own.wilson.high:.1f} %",
    )
    assert [row[0] for row in table.rows[1:]] == ["longer wins", "shorter wins"]
    losses = dict(pairs_table(given.figures).rows)
    assert losses["loss, nats (a coin's is 0.6931)"] == f"{given.figures.pairs.loss:.4f}"
    assert losses["95 % of margins are below"].startswith("+")


def test_what_eval_prints_stands_there_too() -> None:
    titles = " ".join(table.title for table in model_tables(usual_inputs().figures))

    for words in (
        "grade of strength",
        "safety bin",
        "Safety labels",
        "rankings",
        "Best of n",
        "Length",
    ):
        assert words in titles


def test_without_pairs_there_are_ratings_and_no_table_of_pairs() -> None:
    given = rated_inputs()
    ratings = given.figures.ratings

    assert accuracy_table(given.figures, given.baselines) is None
    assert pairs_table(given.figures) is None
    rows = dict(responses_table(given.figures).rows)
    assert rows["mean squared error to ratings"] == f"{ratings.mean_squared_error:.4f}"
    assert rows["rated responses"] == "30"
