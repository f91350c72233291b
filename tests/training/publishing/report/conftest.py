"""Plots of the usual material, drawn once."""

import pytest

from tests.training.publishing.report.made_up_inputs import usual_inputs
from training.publishing.report.plots.all_plots import draw_plots
from training.publishing.report.plots.drawing import Absent, Plot


@pytest.fixture(scope="session")
def plots() -> dict[str, Plot | Absent]:
    """Every plot of the usual material; where plots don't matter they stand in for others."""
    return draw_plots(usual_inputs())
