"""Tables of rankings, ratings and best of n."""

from collections.abc import Sequence

from training.evaluation.best_of_n import BestOfNPoint
from training.evaluation.report import EvaluationReport
from training.evaluation.table_cells import Table, counted, name_of, number, percent, plain


def ranking_tables(report: EvaluationReport) -> list[Table]:
    """Agreement with rankings and ratings."""
    made = []
    for field, title in (("rankings", "rankings"), ("ratings", "ratings")):
        rows, over = [], ""
        for one in report.scorers:
            found = None if one.rankings is None else getattr(one.rankings, field)
            if found is not None:
                over = (
                    f"{counted(found.kendall.count, 'list')} of "
                    f"{counted(found.kendall.prompts, 'prompt')}"
                )
                cells = (number(found.kendall), number(found.spearman), str(found.constant))
                rows.append((name_of(one), *cells))
        if rows:
            columns = ("", "Kendall τ-b", "Spearman ρ", "all rewards equal")
            note = (
                "Mean over lists of three and more responses; where all rewards are equal, it is 0."
            )
            heading = f"Agreement with {title}: {over}"
            made.append(Table(heading, columns, tuple(rows), note))
    return made + _rated_sources(report)


def _rated_sources(report: EvaluationReport) -> list[Table]:
    given = [one for one in report.scorers if one.rankings and one.rankings.rated_sources]
    sources = list(
        dict.fromkeys(s for one in given if one.rankings for s in one.rankings.rated_sources)
    )
    if not sources:
        return []
    rows = tuple(
        (
            source,
            *(number(one.rankings.rated_sources.get(source)) for one in given if one.rankings),
        )
        for source in sources
    )
    columns = ("source", *(name_of(one) for one in given))
    return [Table("Spearman ρ with ratings across prompts", columns, rows)]


def best_of_n_tables(report: EvaluationReport) -> list[Table]:
    """What the favourite of n responses is worth."""
    made = []
    kinds = (
        (
            "by_rank",
            "the share of the other responses that people put below it, ties half",
            percent,
        ),
        ("by_rating", "its rating", plain),
    )
    for field, quality, show in kinds:
        curves = [
            (one, curve)
            for one in report.scorers
            if one.best_of_n is not None and (curve := getattr(one.best_of_n, field))
        ]
        if not curves:
            continue
        first = _shown(curves[0][1])
        rows = [
            (name_of(one), *(show(p.picked.value, p.picked.interval) for p in _shown(curve)))
            for one, curve in curves
        ]
        rows.append(("random pick", *(show(point.random) for point in first)))
        rows.append(("best pick", *(show(point.oracle) for point in first)))
        columns = ("", *(f"n = {p.n} ({counted(p.picked.prompts, 'prompt')})" for p in first))
        note = (
            "Expected worth of the response with the highest reward, exactly over all draws of n; "
            f"its worth is {quality}."
        )
        made.append(Table("Best of n", columns, tuple(rows), note))
    return made


def _shown(curve: Sequence[BestOfNPoint]) -> list[BestOfNPoint]:
    """Doubling n, and the largest: a table has no room for more."""
    return [point for point in curve if point.n & (point.n - 1) == 0 or point is curve[-1]]
