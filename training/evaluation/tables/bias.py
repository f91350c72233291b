"""Tables of biases: what length and perturbations do to rewards."""

from collections.abc import Callable, Sequence

from training.evaluation.figures import Figures
from training.evaluation.lengths import STRATA, LengthFigures
from training.evaluation.perturbations import PERTURBATIONS
from training.evaluation.report import DataSummary
from training.evaluation.robustness import PerturbationFigures
from training.evaluation.tables.cells import (
    ABSENT,
    Table,
    accuracy_cell,
    counted,
    name_of,
    number,
    share,
    signed,
)
from training.evaluation.tables.scorers import having


def length_tables(scorers: Sequence[Figures]) -> list[Table]:
    """What rewards have to do with length; a column for each scorer."""
    given = having(scorers, lambda one: one.lengths if one.pairs else None)
    if not given:
        return []
    measures: list[tuple[str, Callable[[LengthFigures], str]]] = [
        ("Spearman ρ of reward and length", lambda found: number(found.correlation)),
        ("Pearson r within prompts", lambda found: number(found.correlation_within)),
        ("prefers the longer response", lambda found: share(found.prefers_longer)),
        *((f"accuracy, {what}", _stratum(name)) for name, what in STRATA.items()),
        ("accuracy, mean of shorter and longer", lambda found: share(found.balanced)),
        ("accuracy at equal length (regression)", lambda found: share(found.at_equal_length)),
    ]
    first = given[0][1]
    counts = {f"accuracy, {what}": first.strata.get(name) for name, what in STRATA.items()}
    rows = [
        (
            title if (of := counts.get(title)) is None else f"{title} ({of.pairs} pairs)",
            *(show(found) for _, found in given),
        )
        for title, show in measures
    ]
    note = f"The chosen response is the longer one in {share(first.chosen_longer)}."
    return [Table("Length", ("", *(name_of(one) for one, _ in given)), tuple(rows), note)]


def robustness_tables(scorers: Sequence[Figures], data: DataSummary) -> list[Table]:
    """What perturbations do: one table for each measure, a column for each scorer."""
    given = [one for one in scorers if one.robustness]
    if not given:
        return []
    measures: list[tuple[str, Callable[[PerturbationFigures], str], str]] = [
        (
            "Decisions flipped when both responses are perturbed",
            lambda found: share(found.flipped),
            "A decision that becomes or stops being a tie counts half.",
        ),
        (
            "Decisions overturned when the worse response alone is perturbed",
            lambda found: share(found.overturned),
            "The worse one is the one with the lower reward.",
        ),
        (
            "Mean reward shift, in standard deviations of the reward",
            lambda found: signed(found.shift_in_stds),
            "",
        ),
        (
            "Accuracy when both responses are perturbed",
            lambda found: accuracy_cell(found.accuracy),
            "",
        ),
    ]
    columns = ("", *(name_of(one) for one in given))
    prompts = counted(data.robustness_prompts, "prompt")
    return [
        Table(f"{title} ({prompts})", columns, _perturbation_rows(given, show), note)
        for title, show, note in measures
    ]


def _perturbation_rows(
    given: Sequence[Figures], show: Callable[[PerturbationFigures], str]
) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            perturbation.what,
            *(show(one.robustness[name]) if name in one.robustness else ABSENT for one in given),
        )
        for name, perturbation in PERTURBATIONS.items()
        if any(name in one.robustness for one in given)
    )


def _stratum(name: str) -> Callable[[LengthFigures], str]:
    return lambda found: accuracy_cell(found.strata.get(name))
