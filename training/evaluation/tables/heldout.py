"""Tables and sentences of a trained model's figures on the held-out split."""

from collections.abc import Mapping

from training.evaluation.accuracy import Accuracy
from training.evaluation.baselines import BASELINES
from training.evaluation.figures import Figures
from training.evaluation.tables.cells import ABSENT, Table, interval_cell, name_of, percent


def accuracy_table(figures: Figures, baselines: Mapping[str, Accuracy]) -> Table | None:
    """The model's accuracy beside the baselines'; None where no pairs were held out."""
    pairs = figures.pairs
    if pairs is None:
        return None
    rows = [(name_of(figures), pairs.accuracy, figures.scorer.how)]
    rows += [(name.replace("_", " "), found, BASELINES[name]) for name, found in baselines.items()]
    return Table(
        f"Accuracy on {pairs.accuracy.pairs:,} held-out pairs of {pairs.prompts:,} prompts",
        ("", "accuracy", "95 % by prompts", "95 % Wilson", "pairs", "ties", "how it chooses"),
        tuple(
            (
                name,
                percent(found.value),
                interval_cell(found.bootstrap),
                interval_cell(found.wilson),
                f"{found.pairs:,}",
                f"{found.ties:,}",
                how,
            )
            for name, found, how in rows
        ),
        "Ties count half. Intervals by prompts resample whole prompts, because pairs of one prompt "
        "share responses; at 0 and 100 % they are Wilson's of so many prompts. The column of "
        "Wilson's takes pairs for independent.",
    )


def pairs_table(figures: Figures) -> Table | None:
    """Loss, rewards and margins over pairs; None where no pairs were held out."""
    pairs = figures.pairs
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


def responses_table(figures: Figures) -> Table:
    """The spread of all rewards, and ratings where there are any."""
    rows = [
        ("prompts", f"{figures.prompts:,}"),
        ("responses", f"{figures.responses:,}"),
        ("mean reward", f"{figures.reward_mean:+.3f}"),
        ("standard deviation of rewards", f"{figures.reward_std:.3f}"),
    ]
    if figures.ratings is not None:
        ratings = figures.ratings
        rank = ABSENT if ratings.spearman is None else f"{ratings.spearman:+.3f}"
        rows += [
            ("rated responses", f"{ratings.responses:,}"),
            ("mean squared error to ratings", f"{ratings.mean_squared_error:.4f}"),
            ("the same of always guessing their mean", f"{ratings.variance:.4f}"),
            ("Spearman ρ with ratings", rank),
        ]
    return Table("All held-out responses", ("", "held out"), tuple(rows))


def sentences(figures: Figures) -> list[str]:
    """What is known of responses and steps that were scored by themselves."""
    found = []
    if figures.ratings is not None:
        rank = figures.ratings.spearman
        found.append(
            f"Ratings: over {figures.ratings.responses} rated responses the mean squared error is "
            f"{figures.ratings.mean_squared_error:.4f}, where always guessing the mean has "
            f"{figures.ratings.variance:.4f}"
            + (f"; Spearman's ρ {rank:+.3f}." if rank is not None else ".")
        )
    steps = None if figures.steps is None else figures.steps.steps
    if steps is not None and steps.at_half is not None:
        found.append(
            f"Steps: of {steps.good} good and {steps.bad} bad ones "
            f"{steps.at_half.accuracy.value:.1%} fall on their side of score 0.5, where "
            f"always saying what is more frequent has {steps.majority:.1%}."
        )
    return found
