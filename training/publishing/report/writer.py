"""Writing of the report beside the checkpoint, which must not hold what it quotes.

`OUTPUT.run/report/` holds `report.html` and a PNG for each plot. The checkpoint itself gets only
what its card shows, `figures/*.png`, which are made of numbers: it may be published, and every file
in it is pinned by the manifest, so that nobody could take a quoting page out of it again.
"""

from collections.abc import Mapping
from pathlib import Path

from rm_core.checkpoint.atomic import recover_directory, written_whole
from rm_core.checkpoint.manifest import RewardModelManifest
from training.publishing.report.inputs import ReportInputs
from training.publishing.report.page import html_page
from training.publishing.report.plots.drawing import Absent, Plot

PAGE_NAME = "report.html"
CARD_PLOTS = ("accuracy", "reliability")
"""The plots that the model card shows."""


def report_directory(run_directory: Path) -> Path:
    """The directory of a run's report."""
    return run_directory / "report"


def write_report(
    directory: Path,
    inputs: ReportInputs,
    manifest: RewardModelManifest,
    plots: Mapping[str, Plot | Absent],
) -> Path:
    """Write the page and the pictures, replacing an older report as a whole; the page's path.

    Raises:
        NotSaved: the disk is full or failed; the checkpoint stands already.
    """
    recover_directory(directory)
    page = html_page(inputs, manifest, plots, most_mistakes=inputs.config.report_mistakes)
    advice = f"the checkpoint in {inputs.config.output} is whole; only its report is missing"
    with written_whole(directory, advice=advice) as partial:
        (partial / PAGE_NAME).write_text(page, encoding="utf-8")
        for name, plot in plots.items():
            if isinstance(plot, Plot):
                (partial / f"{name}.png").write_bytes(plot.png)
    return directory / PAGE_NAME


def card_pictures(plots: Mapping[str, Plot | Absent]) -> dict[str, Plot]:
    """The plots that the model card shows, by their paths in the checkpoint."""
    return {
        f"figures/{name}.png": plot
        for name in CARD_PLOTS
        if isinstance(plot := plots.get(name), Plot)
    }
