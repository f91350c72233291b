"""Plots of the usual material, drawn once."""

import pytest

from tests.training.publishing.report.made_up_inputs import Plots, usual_inputs
from training.publishing.report.plots.all_plots import draw_plots


@pytest.fixture(scope="session")
def plots() -> Plots:
    """Every plot of the usual material; where plots don't matter they stand in for others."""
    return draw_plots(usual_inputs())
