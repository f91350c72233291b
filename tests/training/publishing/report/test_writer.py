"""What lies where on the disk, whole or not at all."""

from pathlib import Path

import pytest

from rm_core.errors import NotSaved
from tests.training.full_disk import disk_full_after
from tests.training.publishing.report.made_up_inputs import (
    Plots,
    manifest_of,
    report_inputs,
    usual_inputs,
)
from training.publishing.report.plots.drawing import Absent, Plot
from training.publishing.report.writer import (
    CARD_PLOTS,
    card_pictures,
    report_directory,
    write_report,
)


def test_the_page_and_a_picture_of_every_plot(tmp_path: Path, plots: Plots) -> None:
    given = usual_inputs()
    directory = report_directory(tmp_path / "safety.run")

    page = write_report(directory, given, manifest_of(given), plots)

    assert page == tmp_path / "safety.run" / "report" / "report.html"
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert {path.name for path in directory.iterdir()} == {
        "report.html",
        *(f"{name}.png" for name, plot in plots.items() if isinstance(plot, Plot)),
    }


def test_a_full_disk_leaves_the_older_report_and_says_that_the_checkpoint_stands(
    tmp_path: Path, plots: Plots
) -> None:
    given = usual_inputs()
    directory = tmp_path / "report"
    write_report(directory, given, manifest_of(given), plots)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    given = report_inputs(learning_rate=0.5)

    for changes in range(4):
        with (
            disk_full_after(changes, below=tmp_path),
            pytest.raises(NotSaved, match="the checkpoint in models/safety is whole"),
        ):
            write_report(directory, given, manifest_of(given), plots)
        assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
        assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_an_older_report_s_pictures_do_not_stay(tmp_path: Path, plots: Plots) -> None:
    given = usual_inputs()
    write_report(tmp_path / "report", given, manifest_of(given), plots)
    write_report(
        tmp_path / "report", given, manifest_of(given), {**plots, "rewards": Absent("", "")}
    )

    assert not (tmp_path / "report" / "rewards.png").exists()


def test_the_card_gets_its_pictures_by_their_place_in_the_checkpoint(plots: Plots) -> None:
    assert list(card_pictures(plots)) == [f"figures/{name}.png" for name in CARD_PLOTS]
    assert card_pictures({"accuracy": Absent("", "")}) == {}
    assert card_pictures({}) == {}
