"""The report as tables of text, for a terminal, for Markdown and for a page."""

from training.evaluation.bias_tables import length_tables, robustness_tables
from training.evaluation.ranking_tables import best_of_n_tables, ranking_tables
from training.evaluation.report import EvaluationReport
from training.evaluation.safety import SAFETY_BINS
from training.evaluation.table_cells import (
    ABSENT,
    Table,
    accuracy_cell,
    counted,
    name_of,
    percent,
    share,
    signed,
)
from training.types import STRENGTHS


def tables(report: EvaluationReport) -> list[Table]:
    """Every table that has something to show, the general before the particular."""
    return [*_accuracy(report), *particular_tables(report)]


def particular_tables(report: EvaluationReport) -> list[Table]:
    """Every table but that of the accuracy over all pairs."""
    return [
        *_strengths(report),
        *_safety(report),
        *_labels(report),
        *ranking_tables(report),
        *best_of_n_tables(report),
        *_subsets(report),
        *length_tables(report),
        *robustness_tables(report),
        *_steps(report),
        *_left_out(report),
    ]


def _accuracy(report: EvaluationReport) -> list[Table]:
    rows = []
    for one in report.scorers:
        if one.pairs is None:
            continue
        is_model = one.scorer.has_scores
        rows.append(
            (
                name_of(one),
                accuracy_cell(one.pairs.accuracy),
                str(one.pairs.accuracy.ties),
                f"{one.pairs.loss:.4f}" if is_model else ABSENT,
                signed(one.pairs.margin_mean) if is_model else ABSENT,
            )
        )
    if not rows:
        return []
    data = report.data
    title = f"Accuracy: {counted(data.pairs, 'pair')} of {counted(data.prompts, 'prompt')}"
    columns = ("", "accuracy", "ties", "loss", "mean margin")
    note = (
        "With 95 % intervals by resampling prompts; ties count half. The loss is −log σ(r_c − r_r) "
        "in nats; a coin's is 0.6931. "
    )
    note += " ".join(f"{name_of(one)}: {one.scorer.how}." for one in report.scorers)
    return [Table(title, columns, tuple(rows), note)]


def _strengths(report: EvaluationReport) -> list[Table]:
    graded = [one for one in report.scorers if one.pairs is not None and one.pairs.by_strength]
    if not graded:
        return []
    counts = graded[0].pairs.by_strength if graded[0].pairs is not None else {}
    columns = [f"{g.replace('_', ' ')} ({counts[g].pairs})" for g in STRENGTHS if g in counts]
    rows = []
    for one in graded:
        by_strength = one.pairs.by_strength if one.pairs is not None else {}
        cells = [accuracy_cell(by_strength[grade]) for grade in STRENGTHS if grade in by_strength]
        number = sum(found.pairs for found in by_strength.values())
        mean = sum(found.value * found.pairs for found in by_strength.values()) / number
        rows.append((name_of(one), *cells, percent(mean)))
    return [
        Table(
            "Accuracy per grade of strength (pairs)",
            ("", *columns, "avg"),
            tuple(rows),
            "The shape of LLaMA-2's Table 8; avg is over the graded pairs.",
        )
    ]


def _safety(report: EvaluationReport) -> list[Table]:
    binned = [one for one in report.scorers if one.safety is not None and one.safety.bins]
    if not binned:
        return []
    first = binned[0].safety
    bins = [name for name in SAFETY_BINS if first is not None and name in first.bins]
    rows = []
    for one in binned:
        safety = one.safety
        if safety is None:
            continue
        half = None if safety.labels is None else safety.labels.at_half
        rows.append(
            (
                name_of(one),
                accuracy_cell(safety.average),
                *(accuracy_cell(safety.bins.get(name)) for name in bins),
                ABSENT if half is None else share(half.recall_of_bad),
            )
        )
    heads = [
        f"{SAFETY_BINS[name]} ({first.bins[name].pairs})" for name in bins if first is not None
    ]
    note = "The shape of LLaMA-2's Table 29; recall is at score 0.5."
    if first is not None and first.excluded_pairs:
        note += f" {first.excluded_pairs} pairs prefer an unsafe to a safe response; in no bin."
    columns = ("", "avg", *heads, "unsafe recall")
    return [Table("Accuracy per safety bin (pairs)", columns, tuple(rows), note)]


def _labels(report: EvaluationReport) -> list[Table]:
    rows = []
    counts = None
    for one in report.scorers:
        labels = None if one.safety is None else one.safety.labels
        if labels is None:
            continue
        counts = counts or (labels.good, labels.bad, labels.majority)
        half = labels.at_half
        shares = (ABSENT,) * 5
        if half is not None:
            shares = (
                share(half.accuracy),
                share(half.recall_of_bad),
                share(half.false_alarms),
                share(half.precision_of_bad),
                percent(half.flagged.value),
            )
        rows.append((name_of(one), share(labels.auc), *shares))
    if counts is None:
        return []
    good, bad, majority = counts
    columns = ("", "AUC", "accuracy", "unsafe recall", "false alarms", "precision", "flagged")
    note = (
        f"At score 0.5. Always saying the more frequent is right in {percent(majority)}; flagging "
        "as many blindly has a recall equal to the share flagged."
    )
    return [Table(f"Safety labels: {good} safe, {bad} unsafe", columns, tuple(rows), note)]


def _subsets(report: EvaluationReport) -> list[Table]:
    given = [one for one in report.scorers if one.subsets is not None]
    first = given[0].subsets if given else None
    if first is None:
        return []
    rows = [
        (
            f"{name} ({subset.accuracy.pairs}, {subset.by_prompt.prompts})",
            *(share(one.subsets.subsets[name].by_prompt) for one in given if one.subsets),
        )
        for name, subset in first.subsets.items()
    ]
    rows += [
        (
            f"section {name}",
            *(share(one.subsets.sections[name]) for one in given if one.subsets),
        )
        for name in first.sections
    ]
    rows.append(("average", *(share(one.subsets.average) for one in given if one.subsets)))
    over = "sections" if first.sections else "subsets"
    return [
        Table(
            f"Accuracy per {first.grouping} (pairs, prompts)",
            (first.grouping, *(name_of(one) for one in given)),
            tuple(rows),
            f"Every prompt weighs the same; the average is the plain mean over {over}.",
        )
    ]


def _steps(report: EvaluationReport) -> list[Table]:
    given = [(one, one.steps) for one in report.scorers if one.steps is not None]
    if not given:
        return []
    rows = []
    for one, found in given:
        half = found.steps.at_half
        accuracy = ABSENT if half is None else share(half.accuracy)
        cells = (share(found.steps.auc), accuracy, share(found.first_error))
        rows.append((name_of(one), *cells))
    steps = given[0][1].steps
    columns = ("", "AUC", "accuracy at score 0.5", "first error found")
    note = f"Always saying the more frequent is right in {percent(steps.majority)} of steps."
    return [Table(f"Steps: {steps.good} right, {steps.bad} wrong", columns, tuple(rows), note)]


def _left_out(report: EvaluationReport) -> list[Table]:
    rows = tuple(
        (reason.replace("_", " "), str(n)) for reason, n in report.data.left_out.items() if n
    )
    return [Table("Left out", ("", "count"), rows)] if rows else []
