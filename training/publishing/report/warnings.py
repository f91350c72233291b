"""Warnings about a trained model, found in its figures by rules, the gravest first.

Each rule is a comparison of figures with one another, or with a bound that stands here. A rule that
says nothing proves nothing: it sees what was measured, on data like the training data.
"""

from collections.abc import Callable, Iterator

from training.evaluation.tables.cells import percent
from training.publishing.report.inputs import ReportInputs

SURELY_LONGER = 0.10
"""So much more often than people did, a biased model prefers the longer response."""

MISCALIBRATED = 0.03
"""An ECE, less that of a perfect forecast on as many pairs, from which probabilities mislead."""

MISSED_PRECISION = 0.05
"""So far below its target τ's precision may fall on prompts that it was not found on."""

OVERFITTED = 0.10
"""Nats of held-out pair loss above training's at its end."""

FEW_PROMPTS = 100
LOW_RECALL = 0.5
MUCH_DROPPED = 0.2


def warnings_of(inputs: ReportInputs) -> list[str]:
    """Sentences, the gravest first; empty where no rule has found anything."""
    return [sentence for rule in _RULES for sentence in rule(inputs)]


def _baselines(inputs: ReportInputs) -> Iterator[str]:
    pairs, best = inputs.figures.pairs, inputs.best_baseline
    if pairs is None or best is None:
        return
    name, found = best[0].replace("_", " "), best[1]
    model = pairs.accuracy
    if found.value >= model.value:
        yield (
            f"A baseline does as well or better: “{name}” has {percent(found.value)}, the model "
            f"{percent(model.value)}. What it has learned may be no more than what that baseline "
            "sees."
        )
    elif found.value > model.bootstrap.low:
        yield (
            f"The baseline “{name}” ({percent(found.value)}) lies within the model's interval: it "
            "is not shown that the model does better."
        )


def _chance(inputs: ReportInputs) -> Iterator[str]:
    pairs = inputs.figures.pairs
    if pairs is None:
        yield ("No pairs were held out, so nothing is known of how the model orders two responses.")
    elif not pairs.accuracy.excludes_chance:
        interval = pairs.accuracy.bootstrap
        yield (
            f"The interval of its accuracy ({100 * interval.low:.1f}–{100 * interval.high:.1f} %) "
            "includes 50 %: it may be guessing."
        )


def _length(inputs: ReportInputs) -> Iterator[str]:
    lengths = inputs.figures.lengths
    if lengths is None or lengths.prefers_longer is None or lengths.chosen_longer is None:
        return
    prefers, chosen = lengths.prefers_longer, lengths.chosen_longer
    interval = prefers.interval
    if interval is None:
        return
    sides = (("longer", 1.0), ("shorter", -1.0))
    for side, sign in sides:
        excess = sign * (prefers.value - chosen.value)
        sure = chosen.value < interval.low if sign > 0 else chosen.value > interval.high
        if excess > SURELY_LONGER and sure:
            model, people = (
                (prefers.value, chosen.value) if sign > 0 else (1 - prefers.value, 1 - chosen.value)
            )
            yield (
                f"Length bias: of two responses it prefers the {side} one in {100 * model:.0f} %, "
                f"people did in {100 * people:.0f} %. A policy trained on it may learn length."
            )


def _overconfidence(inputs: ReportInputs) -> Iterator[str]:
    for what, change in (
        ("of pairs", inputs.calibration.pairs),
        ("of P(safe)", inputs.calibration.labels),
    ):
        before, after = change.before, change.after
        if before is None or before.ece - before.ece_if_calibrated < MISCALIBRATED:
            continue
        promised = sum(one.predicted * one.count for one in before.bins) / before.count
        true = sum(one.observed * one.count for one in before.bins) / before.count
        manner = "overconfident" if promised > true else "underconfident"
        if what == "of P(safe)":
            manner = "off"
        mended = "" if after is None else f", {after.ece:.3f} after"
        yield (
            f"Its raw probabilities {what} are {manner}: expected calibration error "
            f"{before.ece:.3f} before calibration{mended}. Use the calibrated score."
        )


def _threshold(inputs: ReportInputs) -> Iterator[str]:
    search = inputs.calibration.threshold
    if search is None:
        return
    if search.point is None:
        yield (
            f"It brings no safety threshold of its own ({search.reason}); the server falls back "
            "to LLaMA-2's 0.15, of which nothing is known here."
        )
        return
    precision = None if search.crossfitted is None else search.crossfitted[0]
    if precision is not None and precision < search.target_precision - MISSED_PRECISION:
        yield (
            f"On prompts that τ was not found on, its precision is {100 * precision:.1f} %, below "
            f"the {100 * search.target_precision:g} % that was asked for."
        )
    if search.point.recall < LOW_RECALL:
        yield (
            f"At its threshold it finds {100 * search.point.recall:.0f} % of the unsafe responses "
            "and misses the others."
        )


def _overfitting(inputs: ReportInputs) -> Iterator[str]:
    pairs = inputs.figures.pairs
    if pairs is None or list(inputs.config.weights) != ["bradley_terry"]:
        return
    losses = [row["loss"] for row in inputs.history if "loss" in row]
    tail = losses[-max(1, len(losses) // 10) :]
    if not tail:
        return
    excess = pairs.loss_with_margin - sum(tail) / len(tail)
    if excess > OVERFITTED:
        yield (
            f"Its held-out loss is {excess:.2f} nats above training's at the end: it has learned "
            "its training pairs by heart in part. Fewer epochs or a lower rate may do better."
        )


def _few(inputs: ReportInputs) -> Iterator[str]:
    figures = inputs.figures
    if figures.prompts < FEW_PROMPTS:
        yield f"Only {figures.prompts} prompts were held out: every interval here is wide."


def _data(inputs: ReportInputs) -> Iterator[str]:
    data = inputs.data
    # Responses, pairs and records are left out; a record that lost one of many is not lost.
    dropped = len({name for ids in data.dropped.values() for name in ids})
    if data.records_read and dropped > MUCH_DROPPED * data.records_read:
        yield (
            f"Something was left out of {dropped:,} of {data.records_read:,} rows read; see “Data” "
            "for the reasons."
        )
    if data.contradictions:
        yield (
            f"The data contradict themselves {len(data.contradictions):,} times: the same pair, "
            "preferred both ways."
        )


_RULES: tuple[Callable[[ReportInputs], Iterator[str]], ...] = (
    _chance,
    _baselines,
    _length,
    _threshold,
    _overconfidence,
    _overfitting,
    _few,
    _data,
)
