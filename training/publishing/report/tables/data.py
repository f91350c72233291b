"""Tables of the data report: both splits, what was left out and why, what was found."""

from collections.abc import Mapping, Sequence
from typing import Any

from training.data.report import REASONS, SplitCounts
from training.evaluation.tables.cells import ABSENT, Table, percent, plain
from training.publishing.report.inputs import ReportInputs
from training.publishing.report.texts import readable

MOST_ROWS = 40
"""Of a table whose length the data decide."""


def data_tables(inputs: ReportInputs) -> list[Table]:
    """Both splits, what was left out, sources, mixture, safety bins."""
    data = inputs.data
    tables = [_splits(inputs)]
    dropped = [
        (meaning, f"{len(data.dropped[reason]):,}")
        for reason, meaning in REASONS.items()
        if data.dropped.get(reason)
    ]
    if dropped:
        tables.append(
            Table(
                "Left out",
                ("why", "count"),
                tuple(dropped),
                "The ids stand in data_report.json beside the weights.",
            )
        )
    findings = [
        ("rows read", f"{data.records_read:,}"),
        ("pairs of equal rank, not used", f"{data.ties:,}"),
        ("malformed rows", f"{len(data.malformed):,}"),
        ("contradictions", f"{len(data.contradictions):,}"),
        ("records whose responses hardly differ, kept", f"{len(data.near_identical):,}"),
        ("prompts in both splits, left out of training", f"{data.prompts_in_both_splits:,}"),
        *((f"pairs: {name.replace('_', ' ')}", f"{n:,}") for name, n in data.safety_bins.items()),
    ]
    tables.append(Table("Findings", ("", "count"), tuple(findings)))
    if len(data.sources) > 1:
        tables.append(_counted("Records per source", "source", data.sources))
    if data.mixture is not None:
        rows = tuple(
            (part.name, f"{part.drawn:,}", f"{part.available:,}", *map(percent, shares))
            for part in data.mixture.parts
            for shares in ((part.share, part.wanted),)
        )
        columns = ("part", "drawn", "of", "share", "wanted")
        tables.append(Table(f"Mixture: {data.mixture.name}", columns, rows))
    tables.append(Table("Files", ("file", "format"), _most(tuple(data.files.items()))))
    return tables


def _splits(inputs: ReportInputs) -> Table:
    data = inputs.data
    unit = data.length_unit
    measures: list[tuple[str, Any]] = [
        ("prompts", lambda found: f"{found.prompts:,}"),
        ("responses", lambda found: f"{found.responses:,}"),
        ("pairs", lambda found: f"{found.pairs:,}"),
        (unit, lambda found: f"{found.tokens:,}"),
        (f"{unit} of a response, median", lambda found: plain(found.median_tokens)),
        (f"{unit} of the longest", lambda found: f"{found.max_tokens:,}"),
        (
            "the longer response is chosen",
            lambda found: (
                percent(found.longer_wins, found.longer_wins_interval) if found.pairs else ABSENT
            ),
        ),
    ]
    counts: Sequence[SplitCounts] = list(data.splits.values())
    grades = {grade: None for found in counts for grade in found.strengths}
    measures += [
        (
            f"pairs: {grade.replace('_', ' ')}",
            lambda found, grade=grade: f"{found.strengths.get(grade, 0):,}",
        )
        for grade in grades
    ]
    if grades and any(found.ungraded for found in counts):
        measures.append(("pairs without a grade", lambda found: f"{found.ungraded:,}"))
    if any(found.rated for found in counts):
        measures.append(("rated responses", lambda found: f"{found.rated:,}"))
    if any(found.steps for found in counts):
        measures.append(("labelled steps", lambda found: f"{found.steps:,}"))
    rows = tuple((name, *(show(found) for found in counts)) for name, show in measures)
    return Table(
        "Both splits", ("", *("held out" if s == "heldout" else s for s in data.splits)), rows
    )


def _counted(title: str, what: str, counts: Mapping[str, int]) -> Table:
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Table(title, (what, "count"), _most(tuple((name, f"{n:,}") for name, n in rows)))


def _most(rows: tuple[tuple[str, str], ...]) -> tuple[tuple[str, ...], ...]:
    """The first rows, and how many more there are."""
    shown = tuple((readable(name), value) for name, value in rows[:MOST_ROWS])
    more = len(rows) - len(shown)
    return (*shown, (f"{more:,} more", "")) if more else shown
