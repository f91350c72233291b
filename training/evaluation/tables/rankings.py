"""Tables of rankings, ratings and best of n."""

from collections.abc import Callable, Iterator, Sequence

from training.evaluation.best_of_n import BestOfNPoint
from training.evaluation.figures import Figures
from training.evaluation.rankings import RankCorrelation
from training.evaluation.tables.cells import Table, counted, name_of, number, percent, plain
from training.evaluation.tables.scorers import having


def ranking_tables(scorers: Sequence[Figures]) -> list[Table]:
    """Agreement with rankings and ratings."""
    ranked = having(scorers, lambda one: one.rankings.rankings if one.rankings else None)
    rated = having(scorers, lambda one: one.rankings.ratings if one.rankings else None)
    return [
        *_agreement("rankings", ranked),
        *_agreement("ratings", rated),
        *_rated_sources(scorers),
    ]


def _agreement(what: str, given: Sequence[tuple[Figures, RankCorrelation]]) -> Iterator[Table]:
    if not given:
        return
    lists = given[0][1].kendall
    over = f"{counted(lists.count, 'list')} of {counted(lists.prompts, 'prompt')}"
    rows = tuple(
        (name_of(one), number(found.kendall), number(found.spearman), str(found.constant))
        for one, found in given
    )
    columns = ("", "Kendall τ-b", "Spearman ρ", "all rewards equal")
    note = "Mean over lists of three and more responses; where all rewards are equal, it is 0."
    yield Table(f"Agreement with {what}: {over}", columns, rows, note)


def _rated_sources(scorers: Sequence[Figures]) -> Iterator[Table]:
    given = having(
        scorers, lambda one: (one.rankings.rated_sources or None) if one.rankings else None
    )
    sources = list(dict.fromkeys(source for _, found in given for source in found))
    if sources:
        rows = tuple(
            (source, *(number(found.get(source)) for _, found in given)) for source in sources
        )
        columns = ("source", *(name_of(one) for one, _ in given))
        yield Table("Spearman ρ with ratings across prompts", columns, rows)


def best_of_n_tables(scorers: Sequence[Figures]) -> list[Table]:
    """What the favourite of n responses is worth."""
    by_rank = having(
        scorers, lambda one: (one.best_of_n.by_rank or None) if one.best_of_n else None
    )
    by_rating = having(
        scorers, lambda one: (one.best_of_n.by_rating or None) if one.best_of_n else None
    )
    rank = "the share of the other responses that people put below it, ties half"
    return [*_curves(by_rank, rank, percent), *_curves(by_rating, "its rating", plain)]


def _curves(
    curves: Sequence[tuple[Figures, Sequence[BestOfNPoint]]], worth: str, show: Callable[..., str]
) -> Iterator[Table]:
    if not curves:
        return
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
        f"its worth is {worth}."
    )
    yield Table("Best of n", columns, tuple(rows), note)


def _shown(curve: Sequence[BestOfNPoint]) -> list[BestOfNPoint]:
    """Doubling n, and the largest: a table has no room for more."""
    return [point for point in curve if point.n & (point.n - 1) == 0 or point is curve[-1]]
