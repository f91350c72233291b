"""The three lines at the top say what was measured."""

from dataclasses import replace

from tests.training.publishing.report.made_up_inputs import (
    manifest_of,
    rated_inputs,
    usual_inputs,
)
from training.publishing.report.summary import summary_of


def test_accuracy_stands_beside_the_best_baseline() -> None:
    given = usual_inputs()
    summary = summary_of(given, manifest_of(given))

    assert summary.title == "Safety reward model"
    assert "higher is safer" in summary.what
    assert "org/base" in summary.what
    best = given.best_baseline
    assert f"Orders {100 * given.figures.pairs.accuracy.value:.1f} %" in summary.how_good
    assert f"{100 * best[1].value:.1f} %" in summary.how_good
    assert best[0].replace("_", " ") in summary.how_good
    assert 1 <= len(summary.warnings) <= 2


def test_ratings_alone_tell_their_error() -> None:
    given = rated_inputs()
    summary = summary_of(given, manifest_of(given))

    assert "mean squared error" in summary.how_good
    assert "more helpful" in summary.what
    assert "(regression)" in summary.what


def test_nothing_found_is_said_and_not_left_empty() -> None:
    given = rated_inputs()
    many = replace(
        given, figures=replace(given.figures, prompts=5000), data=replace(given.data, dropped={})
    )

    # No pairs is itself something to beware of.
    assert (
        "nothing is known of how the model orders"
        in summary_of(many, manifest_of(many)).warnings[0]
    )
