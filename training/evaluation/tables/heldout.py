"""Tables of what was measured on the held-out split."""

from training.evaluation.baselines import BASELINES
from training.evaluation.report import DataSummary, EvaluationReport, ScorerFigures
from training.evaluation.scorer import ScorerInfo
from training.evaluation.table_cells import ABSENT, Table, percent
from training.evaluation.tables import particular_tables
from training.publishing.report.inputs import Material
from training.statistics.intervals import Interval


def accuracy_table(material: Material) -> Table | None:
    """The model's accuracy beside the baselines'; None where no pairs were held out."""
    pairs = material.figures.pairs
    if pairs is None:
        return None
    rows = [("reward model", pairs.accuracy, "reads prompt and response")]
    rows += [
        (name.replace("_", " "), found, BASELINES[name])
        for name, found in material.baselines.items()
    ]
    return Table(
        f"Accuracy on {pairs.accuracy.pairs:,} held-out pairs of {pairs.prompts:,} prompts",
        ("", "accuracy", "95 % by prompts", "95 % Wilson", "ties", "how it chooses"),
        tuple(
            (
                name,
                percent(found.value),
                _interval(found.bootstrap),
                _interval(found.wilson),
                f"{found.ties:,}",
                how,
            )
            for name, found, how in rows
        ),
        "Ties count half. Intervals by prompts resample whole prompts, because pairs of one prompt "
        "share responses; Wilson's takes pairs for independent.",
    )


def pairs_table(material: Material) -> Table | None:
    """Loss, rewards and margins over pairs."""
    pairs = material.figures.pairs
    if pairs is None:
        return None
    rows = [
        ("loss, nats (a coin's is 0.6931)", f"{pairs.loss:.4f}"),
        ("loss with the margins of training", f"{pairs.loss_with_margin:.4f}"),
        ("mean reward of chosen", f"{pairs.mean_chosen:+.3f}"),
        ("mean reward of rejected", f"{pairs.mean_rejected:+.3f}"),
        ("mean margin", f"{pairs.margin_mean:+.3f}"),
        ("standard deviation of margins", f"{pairs.margin_std:.3f}"),
    ]
    rows += [
        (f"{int(name[1:])} % of margins are below", f"{value:+.3f}")
        for name, value in pairs.margin_quantiles.items()
    ]
    return Table("Loss, rewards and margins", ("", "held out"), tuple(rows))


def responses_table(material: Material) -> Table:
    """The spread of all rewards, and ratings where there are any."""
    figures = material.figures
    rows = [
        ("prompts", f"{figures.prompts:,}"),
        ("responses", f"{figures.responses:,}"),
        ("mean reward", f"{figures.reward_mean:+.3f}"),
        ("standard deviation of rewards", f"{figures.reward_std:.3f}"),
    ]
    if figures.ratings is not None:
        ratings = figures.ratings
        rows += [
            ("rated responses", f"{ratings.responses:,}"),
            ("mean squared error to ratings", f"{ratings.mean_squared_error:.4f}"),
            ("the same of always guessing their mean", f"{ratings.variance:.4f}"),
            (
                "Spearman ρ with ratings",
                ABSENT if ratings.spearman is None else f"{ratings.spearman:+.3f}",
            ),
        ]
    return Table("All held-out responses", ("", "held out"), tuple(rows))


def further_tables(material: Material) -> list[Table]:
    """Grades, safety, rankings, best of n, length and steps, as `rewardd eval` prints them."""
    figures = material.figures
    scorer = ScorerFigures(
        scorer=ScorerInfo("reward model", "reward_model", "this model", material.config.role),
        pairs=figures.pairs,
        safety=figures.safety,
        rankings=figures.rankings,
        best_of_n=figures.best_of_n,
        subsets=None,
        lengths=figures.lengths,
        robustness={},
        steps=figures.steps,
    )
    pairs = 0 if figures.pairs is None else figures.pairs.accuracy.pairs
    data = DataSummary({}, "heldout", figures.prompts, figures.responses, pairs, 0, {})
    return particular_tables(EvaluationReport(data, (scorer,), material.config.seed))


def _interval(interval: Interval) -> str:
    return f"{100 * interval.low:.1f}–{100 * interval.high:.1f} %"
