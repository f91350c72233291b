import pytest

from tests.training.evaluation.made_up_examples import MadeUpScorer, example, steps
from training.data.examples import Pair
from training.data.filters import FilteredExamples
from training.evaluation.baselines import baseline_scorers
from training.evaluation.report import EvaluationReport
from training.evaluation.run import DataFacts, EvaluationOptions, evaluate_scorers
from training.evaluation.tables.all_tables import report_tables
from training.evaluation.tables.cells import ABSENT, Table

GRADES = ("significantly_better", "significantly_better", "better", "negligibly_better")


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    """Two models over data that have something of everything."""
    examples = [
        example(
            str(i),
            (f"a longer Answer {i}", f"short {i}"),
            pairs=[Pair(0, 1, strength=grade)],  # type: ignore[arg-type]
            is_safe=(True, i % 2 == 0),
            source="pairs",
        )
        for i, grade in enumerate(GRADES)
    ]
    examples.append(
        example("r", ("one", "two 2", "three 3"), ratings=(1.0, 2.0, 3.0), source="ranked")
    )
    examples.append(example("s", ("goodbad!",), steps=(steps(1, 0),), source="steps"))
    models = [
        MadeUpScorer(lambda text: float(len(text)) - 12, "long"),
        MadeUpScorer(lambda text: -float(len(text)), "short"),
    ]
    return evaluate_scorers(
        FilteredExamples(tuple(examples), 0, {"identical_pair": 2}),
        [*models, *baseline_scorers(examples)],
        EvaluationOptions(sections={"Chat": ["pairs"]}),
        facts=DataFacts({"a.jsonl": "canonical"}),
    ).report


def table_of(report: EvaluationReport, title: str) -> Table:
    return next(table for table in report_tables(report) if table.title.startswith(title))


def row_of(table: Table, name: str) -> dict[str, str]:
    row = next(row for row in table.rows if row[0].startswith(name))
    return dict(zip(table.columns, row, strict=True))


def test_every_row_is_as_long_as_its_headings(report: EvaluationReport) -> None:
    for table in report_tables(report):
        assert {len(row) for row in table.rows} == {len(table.columns)}, table.title
        assert "nan" not in str(table.rows).lower()


def test_models_come_before_baselines_in_the_shape_of_the_papers_table_8(
    report: EvaluationReport,
) -> None:
    table = table_of(report, "Accuracy per grade")
    assert table.columns == (
        "",
        "significantly better (2)",
        "better (1)",
        "negligibly better (1)",
        "avg",
    )
    names = [row[0] for row in table.rows]
    assert names == ["long", "short", "longer wins", "shorter wins", "bag of words", "constant"]
    assert row_of(table, "long")["avg"] == "100.0 %"
    assert row_of(table, "short")["avg"] == "0.0 %"
    assert row_of(table, "constant")["avg"] == "50.0 %"


def test_the_safety_bins_have_the_shape_of_table_29(report: EvaluationReport) -> None:
    table = table_of(report, "Accuracy per safety bin")
    assert table.columns == (
        "",
        "avg",
        "chosen safe, rejected unsafe (2)",
        "both safe (2)",
        "unsafe recall",
    )
    assert row_of(table, "long")["unsafe recall"].startswith("100.0 %")
    assert row_of(table, "constant")["unsafe recall"] == ABSENT


def test_a_constant_scorer_shows_all_its_ties(report: EvaluationReport) -> None:
    row = row_of(table_of(report, "Accuracy: "), "constant")
    assert row["ties"] == "7"  # four pairs and the three of the ranking
    assert row["accuracy"].startswith("50.0 %")
    assert row["loss"] == ABSENT


def test_best_of_n_stands_between_a_random_and_the_best_pick(report: EvaluationReport) -> None:
    ranked = [table for table in report_tables(report) if table.title == "Best of n"]
    assert len(ranked) == 2  # by rank and by rating
    by_rating = ranked[1]
    last = by_rating.columns[-1]
    assert last == "n = 3 (1 prompt)"
    assert row_of(by_rating, "long")[last] == "3"
    assert row_of(by_rating, "random pick")[last] == "2"
    assert row_of(by_rating, "best pick")[last] == "3"


def test_subsets_and_sections_have_a_column_for_each_scorer(report: EvaluationReport) -> None:
    table = table_of(report, "Accuracy per source")
    assert table.columns[:3] == ("source", "long", "short")
    assert row_of(table, "section Chat")["long"].startswith("100.0 %")
    assert row_of(table, "average")["long"].startswith("100.0 %")


def test_the_rest_is_there_too(report: EvaluationReport) -> None:
    titles = " / ".join(table.title for table in report_tables(report))
    for words in (
        "Safety labels: 6 safe, 2 unsafe",
        "Agreement with rankings: 1 list of 1 prompt",
        "Agreement with ratings",
        "Length",
        "Decisions flipped",
        "Decisions overturned",
        "Mean reward shift",
        "Steps: 1 right, 1 wrong",
        "Left out",
    ):
        assert words in titles
    assert row_of(table_of(report, "Left out"), "identical pair")["count"] == "2"


def test_data_without_anything_to_measure_make_no_table() -> None:
    lonely = evaluate_scorers(
        FilteredExamples((example("a", ("x",)),), 0, {}), [MadeUpScorer(lambda _: 1.0)]
    ).report
    assert report_tables(lonely) == []
