"""Every plot is drawn where its data are there, and says why where they are not."""

import io
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from PIL import Image

from tests.training.publishing.report.made_up_inputs import (
    LOG,
    Plots,
    comparisons,
    rated_inputs,
    report_inputs,
    usual_inputs,
)
from training.publishing.report.inputs import ReportInputs
from training.publishing.report.plots.all_plots import PLOTS, draw_plots
from training.publishing.report.plots.drawing import VARIABLES, Absent, Plot, our_style


def test_a_safety_model_with_rankings_has_every_plot(plots: Plots) -> None:
    assert list(plots) == list(PLOTS)
    for name, plot in plots.items():
        assert isinstance(plot, Plot), name
        assert plot.name == name
        ET.fromstring(plot.svg)
        Image.open(io.BytesIO(plot.png)).verify()
        assert len(plot.alt) > 20
        assert plot.caption


def test_what_is_seen_is_told_in_words(plots: Plots) -> None:
    given = usual_inputs()
    pairs, search = given.figures.pairs, given.calibration.threshold
    alts = {name: plot.alt for name, plot in plots.items() if isinstance(plot, Plot)}

    assert f"{100 * pairs.accuracy.value:.1f} %" in alts["accuracy"]
    assert f"{pairs.mean_chosen:+.3f}" in alts["rewards"]
    assert "significantly better: median" in alts["margins"]
    assert f"{search.point.score:.4f}" in alts["precision-recall"]
    assert f"{pairs.loss_with_margin:.3f}" in alts["learning"]


def texts(plot: Plot | Absent) -> set[str]:
    assert isinstance(plot, Plot)
    return {"".join(e.itertext()) for e in ET.fromstring(plot.svg).iter("text")}


def test_tau_is_marked_with_its_value(plots: Plots) -> None:
    search = usual_inputs().calibration.threshold

    found = texts(plots["precision-recall"])

    assert f"τ = {search.point.score:.3f}" in found
    assert {"target precision", "flagging blindly", "LLaMA-2's 0.15"} <= found


def reasons(given: ReportInputs) -> dict[str, str]:
    with our_style():
        found = {name: plot(given) for name, plot in PLOTS.items()}
    return {name: plot.why for name, plot in found.items() if isinstance(plot, Absent)}


def test_ratings_alone_leave_pairs_plots_out_with_a_sentence() -> None:
    found = reasons(rated_inputs())

    assert set(found) == set(PLOTS) - {"length", "learning"}
    assert all(why.endswith(".") for why in found.values())


def test_a_log_of_losses_alone_makes_their_curve_alone() -> None:
    losses = [{"step": row["step"], "loss": row["loss"]} for row in LOG]
    curves = draw_plots(report_inputs(history=losses))["learning"]

    assert isinstance(curves, Plot)
    assert "loss" in curves.alt
    assert "accuracy" not in curves.alt


def test_a_short_log_and_two_responses_a_prompt_have_no_curves() -> None:
    made, rewards = comparisons(30, graded=False)
    two = [one for one in made if len(one.responses) == 2]
    own = [given for given in rewards if len(given) == 2]

    found = reasons(report_inputs(two, own, history=LOG[:1]))

    assert "logging_steps" in found["learning"]
    assert "three responses" in found["best-of-n"]
    assert "too few labels" in found["precision-recall"]
    assert "margins" not in found


@pytest.mark.parametrize("reward", [0.0, 1e30, -3.0])
def test_rewards_without_spread_break_no_plot(reward: float) -> None:
    made, _ = comparisons(12)

    found = draw_plots(report_inputs(made, [(reward,) * len(one.responses) for one in made]))

    assert isinstance(found["rewards"], Plot)
    assert isinstance(found["length"], Plot)


def test_one_pair_breaks_no_plot() -> None:
    made, _ = comparisons(2)

    found = draw_plots(report_inputs(made[1:], [(1.0, 0.0)]))

    assert isinstance(found["accuracy"], Plot)
    assert isinstance(found["margins"], Plot)


def test_the_page_knows_every_variable_in_both_schemes() -> None:
    css = Path("training/publishing/report/page.css").read_text(encoding="utf-8")
    light, dark = css.split("@media (prefers-color-scheme: dark)")
    for variable in VARIABLES.values():
        assert f"{variable}:" in light
        assert f"{variable}:" in dark.split("}")[0]
