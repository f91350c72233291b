import json
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console

from rm_core.checkpoint.atomic import recover_directory
from rm_core.errors import NotSaved
from tests.training.ablation.made_up import CONFIG, ablation, cell
from tests.training.full_disk import disk_full_after
from training.ablation import report
from training.ablation.figures import AblationTable
from training.ablation.report import markdown_of, rich_table, write_report

GRADES = ["better", "better", "negligibly_better", "negligibly_better"]
TABLE = AblationTable.of(
    ablation(
        [cell([1.0, 1.0, 1.0, -1.0], strengths=GRADES)],
        [cell([1.0, -1.0, 1.0, -1.0], strengths=GRADES)],
    )
)


def test_the_markdown_table_has_a_line_a_row_and_a_column_a_grade() -> None:
    lines = [line for line in markdown_of(TABLE).splitlines() if line.startswith("|")]

    assert lines[0] == "|  | better (2) | negligibly better (2) | all (4) | difference | seconds |"
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["margins: none", "margins: small"]
    assert "| 75.0 (" in lines[2]
    assert lines[2].endswith("| – | 2 |")
    assert "| -25.0 (" in lines[3]
    assert len({line.count("|") for line in lines}) == 1


def test_the_terminal_shows_the_same_numbers() -> None:
    console = Console(width=200, record=True)
    console.print(rich_table(TABLE))
    shown = console.export_text()

    for text in ("margins: none", "margins: small", "75.0 (", "-25.0 ("):
        assert text in shown


def test_the_report_is_markdown_figures_and_a_picture(tmp_path: Path) -> None:
    place = write_report(TABLE, CONFIG, tmp_path)

    assert sorted(path.name for path in place.iterdir()) == [
        "ablation.json",
        "ablation.md",
        "ablation.png",
    ]
    assert (place / "ablation.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    values = json.loads((place / "ablation.json").read_text())
    assert [row["label"] for row in values["rows"]] == ["margins: none", "margins: small"]
    assert values["rows"][1]["difference"]["all"]["value"] == -0.25
    assert "resample prompts and seeds" in values["method"]
    assert values["configuration"]["role"] == "safety"


def test_a_full_disk_leaves_the_report_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "plot", lambda _, path: path.write_bytes(b"a picture"))
    place = write_report(TABLE, CONFIG, tmp_path)
    (place / "ablation.md").write_text("of an earlier run")
    before = {path.name: path.read_bytes() for path in place.iterdir()}

    for changes in range(20):
        with disk_full_after(changes, below=tmp_path) as disk, suppress(NotSaved):
            write_report(TABLE, CONFIG, tmp_path)
        if not disk.refused:
            break
        recover_directory(place)
        assert {path.name: path.read_bytes() for path in place.iterdir()} == before

    assert changes >= 4
    assert (place / "ablation.md").read_text() != "of an earlier run"
