"""Tables that put scorers side by side: a row for each, or a column."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from training.evaluation.classification import Discrimination
from training.evaluation.figures import Figures
from training.evaluation.report import DataSummary
from training.evaluation.safety import SAFETY_BINS, SafetyFigures
from training.evaluation.tables.cells import (
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

Part = TypeVar("Part")


def having(
    scorers: Sequence[Figures], part_of: Callable[[Figures], Part | None]
) -> list[tuple[Figures, Part]]:
    """The scorers that have a part of the figures, each with it."""
    return [(one, found) for one in scorers if (found := part_of(one)) is not None]


def accuracy_tables(scorers: Sequence[Figures], data: DataSummary) -> list[Table]:
    """Accuracy over all pairs, loss and margin."""
    rows = []
    for one, pairs in having(scorers, lambda one: one.pairs):
        is_model = one.scorer.has_scores
        rows.append(
            (
                name_of(one),
                accuracy_cell(pairs.accuracy),
                str(pairs.accuracy.ties),
                f"{pairs.loss:.4f}" if is_model else ABSENT,
                signed(pairs.margin_mean) if is_model else ABSENT,
            )
        )
    if not rows:
        return []
    title = f"Accuracy: {counted(data.pairs, 'pair')} of {counted(data.prompts, 'prompt')}"
    columns = ("", "accuracy", "ties", "loss", "mean margin")
    note = (
        "With 95 % intervals by resampling prompts, Wilson's at 0 and 100 %; ties count half. The "
        "loss is −log σ(r_c − r_r) in nats; a coin's is 0.6931. "
    )
    note += " ".join(f"{name_of(one)}: {one.scorer.how}." for one in scorers)
    return [Table(title, columns, tuple(rows), note)]


def strength_tables(scorers: Sequence[Figures]) -> list[Table]:
    """Accuracy per grade of strength."""
    graded = having(scorers, lambda one: (one.pairs.by_strength or None) if one.pairs else None)
    if not graded:
        return []
    grades = [grade for grade in STRENGTHS if grade in graded[0][1]]
    columns = [f"{grade.replace('_', ' ')} ({graded[0][1][grade].pairs})" for grade in grades]
    rows = []
    for one, found in graded:
        number = sum(each.pairs for each in found.values())
        mean = sum(each.value * each.pairs for each in found.values()) / number
        rows.append((name_of(one), *(accuracy_cell(found[g]) for g in grades), percent(mean)))
    return [
        Table(
            "Accuracy per grade of strength (pairs)",
            ("", *columns, "avg"),
            tuple(rows),
            "The shape of LLaMA-2's Table 8; avg is over the graded pairs.",
        )
    ]


def safety_tables(scorers: Sequence[Figures]) -> list[Table]:
    """Accuracy per bin of who is safe."""
    binned = having(scorers, lambda one: one.safety if one.safety and one.safety.bins else None)
    if not binned:
        return []
    first = binned[0][1]
    bins = [name for name in SAFETY_BINS if name in first.bins]
    rows = [
        (
            name_of(one),
            accuracy_cell(safety.average),
            *(accuracy_cell(safety.bins.get(name)) for name in bins),
            _recall(safety),
        )
        for one, safety in binned
    ]
    heads = [f"{SAFETY_BINS[name]} ({first.bins[name].pairs})" for name in bins]
    note = "The shape of LLaMA-2's Table 29; recall is at score 0.5."
    if first.excluded_pairs:
        note += f" {first.excluded_pairs} pairs prefer an unsafe to a safe response; in no bin."
    columns = ("", "avg", *heads, "unsafe recall")
    return [Table("Accuracy per safety bin (pairs)", columns, tuple(rows), note)]


def _recall(safety: SafetyFigures) -> str:
    half = None if safety.labels is None else safety.labels.at_half
    return ABSENT if half is None else share(half.recall_of_bad)


def label_tables(scorers: Sequence[Figures]) -> list[Table]:
    """Safety labels against rewards."""
    labelled = having(scorers, lambda one: one.safety.labels if one.safety else None)
    if not labelled:
        return []
    first = labelled[0][1]
    columns = ("", "AUC", "accuracy", "unsafe recall", "false alarms", "precision", "flagged")
    note = (
        f"At score 0.5. Always saying the more frequent is right in {percent(first.majority)}; "
        "flagging as many blindly has a recall equal to the share flagged."
    )
    rows = tuple((name_of(one), share(found.auc), *_at_half(found)) for one, found in labelled)
    return [Table(f"Safety labels: {first.good} safe, {first.bad} unsafe", columns, rows, note)]


def _at_half(labels: Discrimination) -> tuple[str, ...]:
    half = labels.at_half
    if half is None:
        return (ABSENT,) * 5
    return (
        share(half.accuracy),
        share(half.recall_of_bad),
        share(half.false_alarms),
        share(half.precision_of_bad),
        percent(half.flagged.value),
    )


def subset_tables(scorers: Sequence[Figures]) -> list[Table]:
    """Accuracy per subset and section."""
    given = having(scorers, lambda one: one.subsets)
    if not given:
        return []
    first = given[0][1]
    rows = [
        (
            f"{name} ({subset.accuracy.pairs}, {subset.by_prompt.prompts})",
            *(share(found.subsets[name].by_prompt) for _, found in given),
        )
        for name, subset in first.subsets.items()
    ]
    rows += [
        (f"section {name}", *(share(found.sections[name]) for _, found in given))
        for name in first.sections
    ]
    rows.append(("average", *(share(found.average) for _, found in given)))
    over = "sections" if first.sections else "subsets"
    return [
        Table(
            f"Accuracy per {first.grouping} (pairs, prompts)",
            (first.grouping, *(name_of(one) for one, _ in given)),
            tuple(rows),
            f"Every prompt weighs the same; the average is the plain mean over {over}.",
        )
    ]


def step_tables(scorers: Sequence[Figures]) -> list[Table]:
    """Right steps against wrong ones."""
    given = having(scorers, lambda one: one.steps)
    if not given:
        return []
    rows = []
    for one, found in given:
        half = found.steps.at_half
        accuracy = ABSENT if half is None else share(half.accuracy)
        rows.append((name_of(one), share(found.steps.auc), accuracy, share(found.first_error)))
    steps = given[0][1].steps
    columns = ("", "AUC", "accuracy at score 0.5", "first error found")
    note = f"Always saying the more frequent is right in {percent(steps.majority)} of steps."
    return [Table(f"Steps: {steps.good} right, {steps.bad} wrong", columns, tuple(rows), note)]


def left_out_tables(data: DataSummary) -> list[Table]:
    """What could not be used, by reason."""
    rows = tuple((reason.replace("_", " "), str(n)) for reason, n in data.left_out.items() if n)
    return [Table("Left out", ("", "count"), rows)] if rows else []
