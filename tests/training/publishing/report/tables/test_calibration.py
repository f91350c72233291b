"""Tables of a calibration."""

from tests.training.publishing.report.made_up_inputs import comparisons, report_inputs, usual_inputs
from training.publishing.report.tables.calibration import calibration_tables


def test_errors_threshold_and_baseline_of_a_safety_model() -> None:
    calibration = usual_inputs().calibration
    errors, threshold, served = calibration_tables(calibration)
    before, after = calibration.labels.before, calibration.labels.after

    by_name = {row[0]: row for row in errors.rows}
    assert by_name["P(safe), before"][2] == f"{before.ece:.3f}"
    assert by_name["P(safe), after"][2] == f"{after.ece:.3f}"
    assert threshold.rows[0][:2] == ("τ", f"{calibration.threshold.point.score:.4f}")
    assert "89.0 %" in threshold.note
    assert dict(served.rows)["temperature"].startswith(
        f"{calibration.fit.calibration.temperature:.4g}"
    )


def test_a_helpfulness_model_has_no_threshold() -> None:
    titles = [t.title for t in calibration_tables(usual_inputs("helpfulness").calibration)]

    assert titles == ["Calibration errors", "What the server applies"]


def test_too_few_labels_leave_the_threshold_out_and_the_identity_in() -> None:
    made, rewards = comparisons(6)
    tables = calibration_tables(report_inputs(made, rewards).calibration)

    assert "Safety threshold" not in [table.title for table in tables]
    assert dict(tables[-1].rows)["fitted on"] == "nothing: the identity"
