"""Tables of the calibration: errors before and after, the safety threshold, what is served."""

from collections.abc import Iterator

from training.calibration.calibrate import CalibrationResult
from training.calibration.reliability import Reliability
from training.calibration.threshold import OperatingPoint
from training.evaluation.tables.cells import ABSENT, Table, percent
from training.publishing.report.texts import readable
from training.statistics.intervals import Interval


def calibration_tables(calibration: CalibrationResult) -> list[Table]:
    """Errors before and after, the threshold's points, the reward baseline."""
    return [*_errors(calibration), *_thresholds(calibration), _baseline(calibration)]


def _errors(calibration: CalibrationResult) -> Iterator[Table]:
    rows = []
    for what, change in (
        ("P(chosen wins)", calibration.pairs),
        ("P(safe)", calibration.labels),
    ):
        for when, found in (("before", change.before), ("after", change.after)):
            if found is not None:
                rows.append((f"{what}, {when}", *_reliability(found)))
    if rows:
        yield Table(
            "Calibration errors",
            (
                "",
                "over",
                "ECE",
                "a perfect forecast's",
                "ECE, equal width",
                "Brier",
                "neg. log-likelihood",
            ),
            tuple(rows),
            "After: cross-fitted, each prompt is calibrated by data of other prompts. ECE over "
            "bins of equal mass; in small samples a perfect forecast has one above 0 too.",
        )


def _reliability(found: Reliability) -> tuple[str, ...]:
    return (
        f"{found.count:,}",
        f"{found.ece:.3f}",
        f"{found.ece_if_calibrated:.3f}",
        f"{found.ece_equal_width:.3f}",
        f"{found.brier:.4f}",
        f"{found.nll:.4f}",
    )


def _thresholds(calibration: CalibrationResult) -> Iterator[Table]:
    search = calibration.threshold
    if search is None or search.papers_score is None or search.papers_raw is None:
        return
    points = [("LLaMA-2's 0.15", search.papers_score), ("0.15 on σ(raw)", search.papers_raw)]
    if search.point is not None:
        points.insert(0, ("τ", search.point))
    rows = [(name, *_point(point)) for name, point in points]
    if search.crossfitted is not None:
        precision, recall = search.crossfitted
        unseen = ("τ on prompts it was not found on", ABSENT, ABSENT, ABSENT)
        rows.append((*unseen, percent(precision), percent(recall)))
    note = (
        f"“Unsafe” is flagged below the threshold. {search.unsafe:,} of {search.labels:,} labelled "
        f"responses are unsafe; τ was to reach a precision of {percent(search.target_precision)}"
    )
    if search.tau_interval is not None and search.reached_in_resamples is not None:
        low, high = search.tau_interval
        note += (
            f" and did in {percent(search.reached_in_resamples)} of resamples; its 95 % interval "
            f"is {low:.4f}–{high:.4f}"
        )
    if search.reason is not None:
        note += f". There is no τ: {search.reason}"
    columns = ("", "score", "raw reward", "flagged", "precision", "recall")
    yield Table("Safety threshold", columns, tuple(rows), f"{note}.")


def _point(point: OperatingPoint) -> tuple[str, ...]:
    precision = point.precision_interval
    return (
        f"{point.score:.4f}",
        f"{point.raw:+.4f}",
        f"{point.flagged:,}",
        percent(point.precision, None if precision is None else Interval(*precision)),
        percent(point.recall, Interval(*point.recall_interval)),
    )


def _baseline(calibration: CalibrationResult) -> Table:
    fit, baseline = calibration.fit, calibration.baseline
    rows = [
        ("temperature", _with_error(fit.calibration.temperature, fit.temperature_standard_error)),
        ("bias", _with_error(fit.calibration.bias, fit.bias_standard_error)),
        ("fitted on", fit.method if fit.method != "none" else "nothing: the identity"),
    ]
    if baseline is not None:
        rows += [
            ("mean of reference rewards", f"{baseline.mean:+.3f}"),
            ("their standard deviation", f"{baseline.std:.3f}"),
            ("counts as so many samples", f"{baseline.weight:g}"),
        ]
    note = f"{fit.how}. References: {calibration.source}."
    return Table("What the server applies", ("", "value"), tuple(rows), readable(note))


def _with_error(value: float, error: float | None) -> str:
    return f"{value:.4g}" if error is None else f"{value:.4g} ± {error:.2g}"
