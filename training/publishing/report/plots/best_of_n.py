"""Plot of best of n: the worth of the response with the highest reward."""

from training.publishing.report.inputs import ReportInputs
from training.publishing.report.plots.drawing import (
    FAINT,
    MODEL,
    THIRD,
    Absent,
    Drawing,
    new_figure,
)

MIN_PROMPTS = 10
"""A point of fewer prompts would be noise at the end of the curve."""

_TITLE = "Best of n"


def best_of_n_plot(inputs: ReportInputs) -> Drawing | Absent:
    """The favourite's worth over n, between a random pick's and the best one's."""
    found = inputs.figures.best_of_n
    if found is None:
        return Absent(
            _TITLE,
            "No held-out prompt has three responses with a ranking or ratings to tell their worth.",
        )
    whole, by_rank = (found.by_rank, True) if found.by_rank else (found.by_rating, False)
    curve = [point for point in whole if point.picked.prompts >= MIN_PROMPTS]
    if len(curve) < 2:
        return Absent(
            _TITLE, f"Fewer than {MIN_PROMPTS} held-out prompts have two responses to choose from."
        )
    scale, unit = (100, " %") if by_rank else (1, "")
    n = [point.n for point in curve]
    figure, axes = new_figure(2.7)
    picked = [scale * point.picked.value for point in curve]
    spread = [point.picked.interval for point in curve]
    if all(interval is not None for interval in spread):
        axes.fill_between(
            n,
            [scale * interval.low for interval in spread if interval is not None],
            [scale * interval.high for interval in spread if interval is not None],
            color=MODEL,
            alpha=0.2,
            linewidth=0,
        )
    axes.plot(n, [scale * p.oracle for p in curve], "--", color=THIRD, label="best pick there is")
    axes.plot(n, picked, "o-", color=MODEL, label="the model's favourite")
    axes.plot(n, [scale * p.random for p in curve], ":", color=FAINT, label="random pick")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("n responses to choose from")
    axes.set_ylabel("others beaten, %" if by_rank else "rating")
    axes.legend(loc="best")
    last = curve[-1]
    alt = (
        f"Of {last.n} responses the model's favourite is worth {scale * last.picked.value:.3g}"
        f"{unit}, a random one {scale * last.random:.3g}{unit}, the best one "
        f"{scale * last.oracle:.3g}{unit}."
    )
    caption = (
        "Expected worth of the response with the highest reward, exactly over all draws of n; its "
        "worth is "
        + ("the share of the others that people put below it." if by_rank else "its rating.")
        + f" Up to the largest n that {MIN_PROMPTS} prompts have."
    )
    return Drawing("best-of-n", _TITLE, caption, alt, figure)
